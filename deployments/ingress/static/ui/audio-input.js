// The audio that a video is made for: a file, or a recording from the microphone.

import * as api from "./api.js";
import { byId } from "./dom.js";
import { clearProblems, showProblem } from "./errors.js";
import { AUDIO } from "./image-fields.js";
import { MediaField } from "./media-field.js";
import { record } from "./recording.js";

const NAMES = /\.(wav|mp3|m4a|aac|ogg|oga|opus|flac|webm|mp4|mov)$/i;

export const audio = new MediaField("audio", "Audio", () => setAudio(null));
let recording = null;

/** Whether a dropped file has audio. */
export const isAudio = (each) => each.type.startsWith("audio/") || NAMES.test(each.name);

/** Offer audio where the server takes it. `changed` is called when there is another one, or none. */
export async function offerAudio(changed) {
  if (!(await api.serves(`/v1/video/${api.FROM_AUDIO}`))) return;
  byId("audio-record").hidden = !navigator.mediaDevices; // browsers allow it on https and on this machine alone
  byId("audio-record").addEventListener("click", toggleRecording);
  audio.offer(changed);
}

/** The chosen audio as a list of at most one: {field, file, strength, start, duration}. */
export function chosenAudio() {
  if (!audio.isGiven) return [];
  const { file } = audio;
  const seconds = (id) => (byId(id).value === "" ? null : Number(byId(id).value));
  return [{ field: AUDIO, file, strength: Number(byId("audio-strength").value), start: seconds("audio-start"), duration: seconds("audio-duration") }];
}

/**
 * How many seconds of the chosen audio are used: those that are asked for, or its rest, at most `longest_s` of it. Throws
 * where the browser cannot read the file.
 */
export async function usedSeconds(longest_s) {
  const [{ start, duration }] = chosenAudio();
  if (duration !== null) return duration;
  const rest_s = (await wholeSeconds()) - (start ?? 0);
  return Math.round(1000 * Math.min(Math.max(rest_s, 0), longest_s)) / 1000;
}

async function wholeSeconds() {
  if (Number.isFinite(audio.player.duration)) return audio.player.duration;
  try {
    // A recording does not say how long it is, and the player may not have read the file yet.
    const samples = await new OfflineAudioContext(1, 1, 48000).decodeAudioData(await audio.file.arrayBuffer());
    return samples.duration;
  } catch {
    throw { message: "The browser cannot read how long this audio is. Give a length in seconds." };
  }
}

/** Show this audio: {file, strength, start, duration}, or none. Without a file its values wait for one. */
export function setAudio(given) {
  byId("audio-strength").value = given?.strength ?? 1;
  byId("audio-start").value = given?.start ?? "";
  byId("audio-duration").value = given?.duration ?? "";
  audio.set(given?.file ?? null);
}

async function toggleRecording() {
  const button = byId("audio-record");
  if (recording) return recording.stop();
  clearProblems();
  try {
    recording = await record((at_s) => (button.textContent = `Stop, ${at_s} s`));
    audio.set(await recording.file);
  } catch {
    showProblem({ message: "The browser allows no microphone here." });
  } finally {
    recording = null;
    button.textContent = "Record";
  }
}

