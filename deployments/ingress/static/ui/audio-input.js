// The audio that a video is made for: a file, or a recording from the microphone.

import * as api from "./api.js";
import { announce, byId } from "./dom.js";
import { clearProblems, showProblem } from "./errors.js";
import { AUDIO } from "./image-fields.js";
import { record } from "./recording.js";

const NAMES = /\.(wav|mp3|m4a|aac|ogg|oga|opus|flac|webm|mp4|mov)$/i;

let file = null;
let shownUrl = null;
let recording = null;

/** Whether a dropped file is audio. */
export const isAudio = (each) => each.type.startsWith("audio/") || NAMES.test(each.name);

/** Offer audio where the server takes it. `changed` is called when there is another one, or none. */
export async function offerAudio(changed) {
  if (!(await api.serves(`/v1/video/${api.FROM_AUDIO}`))) return;
  byId("audio").hidden = false;
  byId("audio-record").hidden = !navigator.mediaDevices; // browsers allow it on https and on this machine alone
  byId("audio-file").addEventListener("change", ({ target }) => target.files.length && setAudio({ file: target.files[0] }));
  byId("audio-record").addEventListener("click", toggleRecording);
  byId("audio-remove").addEventListener("click", () => {
    setAudio(null);
    byId("audio-file").focus();
  });
  byId("audio").addEventListener("given", changed);
}

/** The chosen audio as a list of at most one: {field, file, strength, start, duration}. */
export function chosenAudio() {
  if (!file) return [];
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
  const player = byId("audio-player");
  if (Number.isFinite(player.duration)) return player.duration;
  try {
    // A recording does not say how long it is, and the player may not have read the file yet.
    const samples = await new OfflineAudioContext(1, 1, 48000).decodeAudioData(await file.arrayBuffer());
    return samples.duration;
  } catch {
    throw { message: "The browser cannot read how long this audio is. Give a length in seconds." };
  }
}

/** Show this audio: {file, strength, start, duration}, or none. Without a file its values wait for one. */
export function setAudio(audio) {
  const hadAudio = Boolean(file);
  if (shownUrl) URL.revokeObjectURL(shownUrl);
  file = audio?.file ?? null;
  shownUrl = file ? URL.createObjectURL(file) : null;
  byId("audio-chosen").hidden = !file;
  byId("audio-offer").hidden = Boolean(file);
  const player = byId("audio-player");
  if (file) player.src = shownUrl;
  else player.removeAttribute("src");
  byId("audio-name").textContent = file?.name ?? "";
  byId("audio-strength").value = audio?.strength ?? 1;
  byId("audio-start").value = audio?.start ?? "";
  byId("audio-duration").value = audio?.duration ?? "";
  if (!file) byId("audio-file").value = "";
  if (file) announce(`Audio ${file.name} chosen`);
  else if (hadAudio) announce("No audio");
  byId("audio").dispatchEvent(new Event("given"));
}

async function toggleRecording() {
  const button = byId("audio-record");
  if (recording) return recording.stop();
  clearProblems();
  try {
    recording = await record((at_s) => (button.textContent = `Stop, ${at_s} s`));
    const recorded = await recording.file;
    setAudio({ file: recorded });
  } catch {
    showProblem({ message: "The browser allows no microphone here." });
  } finally {
    recording = null;
    button.textContent = "Record";
  }
}

