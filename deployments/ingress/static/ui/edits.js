// What can be done with a finished video besides playing it: a longer one, one with a part made anew, or a changed one.

import * as api from "./api.js";
import { plainLoras } from "./control-input.js";
import { element } from "./dom.js";
import { clearProblems, showProblem } from "./errors.js";
import { choice, percent, slider } from "./labeled-inputs.js";
import { RangeOnPlayer } from "./range.js";

const EXTEND = "async_extend";
const RETAKE = "async_retake";
const CHANGE = "async_v2v";
const SIZED = ["width", "height", "num_frames", "frame_rate", "fit", "length", "seed", "generate_audio"]; // the source's
const OWN = ["source_task", "start_time", "duration", "mode", "context", "video_strength", "control_strength", "preprocessor"];
const LONGEST_S = 10;
const STAYS = 0.6; // the server's default

let panels = 0;

/**
 * Buttons that open a panel in `place`, below the card. Where the server has no such route, they stay hidden.
 * `submit` is called with the fields, the route and the size, and throws the server's error.
 */
export function offerEdits(entry, body, stage, place, submit) {
  const open = (name, panel) => button(name, (event) => toggle(event.target, place, panel));
  const buttons = [
    [EXTEND, open("Extend", () => extendPanel(entry, stage, submit))],
    [RETAKE, open("Redo a part", () => retakePanel(entry, stage, body.duration_s, submit))],
    [CHANGE, open("Change it", () => changePanel(entry, stage, submit))],
  ];
  for (const [route, made] of buttons) {
    made.hidden = true;
    api.serves(`/v1/video/${route}`).then((served) => (made.hidden = !served), () => {});
  }
  return buttons.map(([, made]) => made);
}

/** Open a panel, or close it if it is the one that is open. */
function toggle(opener, place, panel) {
  const isOpen = opener.getAttribute("aria-expanded") === "true";
  close(place);
  if (isOpen) return;
  const { node, onClose = () => {} } = panel();
  place.replaceChildren(node);
  place.hidden = false;
  place.closePanel = () => {
    onClose();
    opener.setAttribute("aria-expanded", "false");
  };
  opener.setAttribute("aria-expanded", "true");
  node.querySelector("textarea").focus();
}

function close(place) {
  place.closePanel?.();
  place.closePanel = null;
  place.hidden = true;
  place.replaceChildren();
}

function extendPanel(entry, stage, submit) {
  const prompt = promptInput(entry, "What happens in the new part");
  const duration = durationInput();
  const mode = choice("Where", "mode", { end: "After the end", start: "Before the start" });
  const fields = () => ({ mode: mode.input.value, duration: Number(duration.input.value) });
  const send = () => submit(request(entry, prompt, fields()), { route: EXTEND, size: sizeOf(stage, entry) });
  return { node: panel("Extend the video", [prompt.node, mode.node, duration.node], "Make it longer", send) };
}

function retakePanel(entry, stage, duration_s, submit) {
  const prompt = promptInput(entry, "What happens in this part");
  const range = new RangeOnPlayer(stage.querySelector("video"), duration_s);
  const mode = choice("What", "mode", { replace_audio_and_video: "Video and audio", replace_video: "Video", replace_audio: "Audio" });
  const fields = () => ({ mode: mode.input.value, ...range.fields() });
  const send = () => submit(request(entry, prompt, fields()), { route: RETAKE, size: sizeOf(stage, entry) });
  const node = panel("Make a part anew", [range.node, mode.node, prompt.node], "Redo this part", send);
  return { node, onClose: () => range.remove() };
}

function changePanel(entry, stage, submit) {
  const prompt = promptInput(entry, "What the whole video shows now");
  const strength = slider("How much stays", "video_strength", { min: 0, max: 1, step: 0.05, value: STAYS }, percent);
  const mode = choice("Audio", "mode", { replace_video: "Stays as it is", replace_audio_and_video: "Changes too" });
  const fields = () => ({ mode: mode.input.value, video_strength: Number(strength.input.value) });
  const send = () => submit(request(entry, prompt, fields()), { route: CHANGE, size: sizeOf(stage, entry) });
  return { node: panel("Change the video", [prompt.node, strength.node, mode.node], "Make the change", send) };
}

const request = (entry, prompt, fields) => ({ ...taken(entry), prompt: prompt.value(), ...fields, seed: null, source_task: entry.id });

/** The size of the source, which the new video has too. */
function sizeOf(stage, { fields, size = fields }) {
  const { videoWidth: width, videoHeight: height } = stage.querySelector("video");
  return width ? { width, height } : { width: size.width, height: size.height };
}

/** The fields that the new video shares with its source. */
function taken({ fields }) {
  const left = new Set([...SIZED, ...OWN, "prompt", "loras"]);
  const kept = Object.entries(fields).filter(([name]) => !left.has(name));
  const loras = plainLoras(fields.loras);
  return { ...Object.fromEntries(kept), ...(loras.length && { loras }) };
}

function panel(title, parts, name, send) {
  const submit = element("button", { type: "submit", class: "small strong" }, name);
  const problem = element("p", { class: "problem", role: "alert", hidden: true });
  const node = element("form", { class: "panel", id: `panel-${(panels += 1)}`, novalidate: true, "aria-label": title }, ...parts, problem, submit);
  node.addEventListener("submit", async (event) => {
    event.preventDefault();
    clearProblems();
    submit.disabled = true;
    try {
      await send();
      close(node.parentNode);
    } catch (error) {
      showProblem(error, node);
    } finally {
      submit.disabled = false;
    }
  });
  return node;
}

function promptInput({ fields }, label) {
  const input = element("textarea", { name: "prompt", rows: 3 });
  input.value = fields.prompt;
  return { value: () => input.value, node: element("label", { class: "field" }, label, input) };
}

const durationInput = () =>
  slider("Length of the new part", "duration", { min: 1, max: LONGEST_S, step: 0.5, value: 3 }, (value) => `${value} s`);

const button = (text, onclick) => element("button", { type: "button", class: "small", "aria-expanded": "false", onclick }, text);
