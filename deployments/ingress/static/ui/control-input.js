// The control video that a video follows: a file or a finished task, the IC-LoRA that reads it, and how it is used.

import * as api from "./api.js";
import { element } from "./dom.js";
import { VIDEO } from "./image-fields.js";
import { choice, percent, slider } from "./labeled-inputs.js";
import { MediaField } from "./media-field.js";

const NAMES = /\.(mp4|m4v|mov|mkv|webm)$/i;
const NONE = "none";
const EDGES = "canny";
const LEAST_SCALE = 0.05; // with 0 the LoRA is off, which the route refuses
// What the control video of a LoRA shows, and whether the server can make it of any video.
const KINDS = {
  canny: { about: "follows its edges", made: true },
  depth: { about: "follows its depth: give a video in which near is light" },
  pose: { about: "follows its poses: give a video of skeletons" },
  detailer: { about: "has more detail than this one" },
  other: { about: "follows what it shows", made: true },
};

export const control = new MediaField("control", "Control video", () => setControl({}));
const lora = choice("LoRA", "loras[0].name", {});
const about = element("p", { class: "quiet" });
const edges = element("input", { type: "checkbox", name: "preprocessor" });
const edgesField = element("label", { class: "field" }, edges, " Make the edges of this video here");
const range = { min: 0, max: 1, step: 0.05, value: 1 };
const scale = slider("Scale of the LoRA", "loras[0].scale", { ...range, min: LEAST_SCALE }, String);
const strength = slider("Strength of the control video", "control_strength", range, percent);
let known = {};
let task = null;
let playing = null; // resolves when the player has the url of the task, or when there is none

/** Whether a dropped file is a video. */
export const isVideo = (each) => each.type.startsWith("video/") || (!each.type && NAMES.test(each.name));

/** Offer a control video where the server has an IC-LoRA. `changed` is called when there is another one, or none. */
export async function offerControl(changed) {
  known = await api.controlLoras();
  if (!Object.keys(known).length) return;
  lora.input.append(...Object.keys(known).map((name) => element("option", { value: name }, name)));
  lora.input.addEventListener("change", () => choose(lora.input.value));
  const player = { id: "control-player", controls: true, loop: true, playsinline: true, "aria-label": "The control video" };
  control.part("settings").prepend(element("video", player));
  control.part("settings").append(lora.node, about, edgesField, scale.node, strength.node);
  choose(lora.input.value);
  control.offer(changed);
}

/** Whether a control video is chosen. */
export const hasControl = () => control.isGiven;

/** The file of the chosen control video, as a list of at most one: {field, file}. */
export const chosenControl = () => (control.file ? [{ field: VIDEO, file: control.file }] : []);

/** The fields of the chosen control video, with its LoRA first in `loras`; none without one. */
export function controlFields() {
  if (!control.isGiven) return {};
  const fields = { control_strength: Number(strength.input.value), preprocessor: makesEdges() ? EDGES : NONE };
  const loras = [{ name: lora.input.value, scale: Number(scale.input.value) }];
  return control.file ? { ...fields, loras } : { ...fields, loras, source_task: task };
}

/** The LoRAs of a request that need no control video. */
export const plainLoras = (loras = []) => loras.filter(({ name }) => !(name in known));

/**
 * Show the control video of a request: its file or its `source_task`, or none. Without either, its settings wait for a
 * file, and what is left out gets its default.
 */
export function setControl({ loras = [], source_task = null, control_strength = 1, preprocessor = null }, file = null) {
  if (control.node.hidden) return;
  const { name, scale: at } = loras.find((each) => each.name in known) ?? { name: lora.input.value };
  choose(name, at);
  if (preprocessor !== null) edges.checked = preprocessor === EDGES;
  strength.input.value = control_strength;
  strength.show();
  task = source_task;
  control.set(file, file?.name ?? (task ? "One of your videos" : ""));
  playing = task && playTask(task);
}

/** Its size and how long it is, as the browser reads them: {width, height, duration_s}. Throws where it cannot. */
export async function controlShape() {
  const { player } = control;
  await playing;
  if (player.src && player.readyState === 0 && !player.error) await either(player, "loadedmetadata", "error");
  if (!player.videoWidth || !Number.isFinite(player.duration)) {
    throw { field: VIDEO, message: "The browser cannot read how large and how long this video is. The server can." };
  }
  return { width: player.videoWidth, height: player.videoHeight, duration_s: player.duration };
}

/** Its size, as far as the browser has read it. */
export function controlSize() {
  const { videoWidth: width, videoHeight: height } = control.player;
  return width ? { width, height } : undefined;
}

async function playTask(id) {
  const { url } = await api.look(id).catch(() => ({}));
  if (url && id === task && !control.file) control.play(api.fileUrl(url));
}

/** Choose a LoRA, with its scale. Edges are made for one that needs edges, until the user says otherwise. */
function choose(name, at = 1) {
  const { trigger, max_scale, control: kind } = known[name];
  lora.input.value = name;
  scale.input.max = max_scale;
  scale.input.value = Math.min(at, max_scale);
  scale.show();
  const { about: follows, made = false } = KINDS[kind] ?? KINDS.other;
  about.textContent = `The new video ${follows}.${trigger ? ` Say “${trigger}” in the prompt.` : ""}`;
  edgesField.hidden = !made;
  edges.checked = kind === EDGES;
}

const either = (player, ...events) =>
  new Promise((resolve) => events.forEach((each) => player.addEventListener(each, resolve, { once: true })));

const makesEdges = () => edges.checked && !edgesField.hidden;
