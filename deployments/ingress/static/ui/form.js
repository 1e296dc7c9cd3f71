// The form: shape and length at the top, exact parameters below. The exact parameters are sent.

import * as api from "./api.js";
import { chosenAudio, offerAudio, setAudio, usedSeconds } from "./audio-input.js";
import { switchOff } from "./availability.js";
import * as control from "./control-input.js";
import { byId, element } from "./dom.js";
import * as inputs from "./parameters.js";
import { chosenImages, offerEnds, offerKeyframes, setFirstFrame, setImages } from "./images.js";
import { clearProblems, showProblem } from "./errors.js";
import { listenForEnhance } from "./enhance.js";
import { listenForEstimate } from "./estimate.js";
import { boundLoras, chosenLoras, offerLoras, setLoras } from "./loras.js";
import { fittedSize, framesFor, shapes } from "./dimensions.js";
import { listenForFiles } from "./dropped-files.js";
import { AUDIO, VIDEO, isImage } from "./image-fields.js";

const EXAMPLES = {
  "Harbour at dawn":
    "Slow wide shot over a small fishing harbour at dawn, soft pink light on still water, thin mist between the boats. An old " +
    "man in a yellow raincoat coils a rope on the quay and looks up. The camera drifts towards him at walking pace until " +
    "his weathered hands fill the frame. Ropes creak, water laps against wood, a single gull calls far away.",
  "Clay chef":
    "Close shot in a claymation kitchen, warm lamp light, fingerprints visible in the clay. A round chef with a red moustache " +
    "lifts the lid of a copper pot, steam curls up and his eyebrows rise with it. He leans in, sniffs, and whispers proudly: " +
    '"Finally. Soup." The pot bubbles, a clock ticks, an accordion plays softly in the next room.',
  "Night tram":
    "Handheld medium shot inside an empty tram at night, green neon sliding over wet windows, film grain. A woman in her " +
    "twenties with a shaved head and a silver jacket hums with closed eyes. The tram jolts, she opens her eyes and smiles at " +
    "her reflection. The camera pans to the window as the city smears into lines of light. Rails sing, rain drums on the roof.",
};

// What the demo model can draw.
const DEMO_EXAMPLES = {
  "Red circle": "a red circle moves left on a blue background, a low tone",
  "Yellow triangle": "a yellow triangle moves up on a black background, a rising tone",
  "White square": "a white square grows on a green background, beeps",
};

// The parameters that follow from given audio, and those that follow from a control video.
const OF_THE_AUDIO = ["num_frames", "length"];
const OF_THE_VIDEO = [...OF_THE_AUDIO, "width", "height", "frame_rate"];

const NO_AUDIO = "A control video goes without audio.";

let schemas = {};
let offered;

export async function openComposer(onSubmitted) {
  offerEnds();
  listenForFiles();
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send(onSubmitted);
  });
  byId("composer").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send(onSubmitted);
  });
  byId("prompt").addEventListener("input", count);
  listenForEnhance(() => [collect(), chosen().filter(isImage)], count);
  listenForEstimate(collectForEstimate);
  schemas = await api.parameters();
  inputs.makeInputs(schemas);
  offerShapes();
  offerLength();
  offerKeyframes(duration_s);
  offerAudio(showGiven);
  control.offerControl(showGiven);
  offerLoras(schemas.loras);
  const kept = () => [...chosenImages(), ...chosenAudio(), ...control.chosenControl()];
  byId("defaults").addEventListener("click", () => fill(control.controlFields(), kept()));
  byId("parameters").addEventListener("input", showMeaning);
  showGiven();
  showMeaning();
  count();
}

/** Fill the form with the parameters and the images of an earlier task. */
export function fill(fields, images) {
  if (fields.prompt) byId("prompt").value = fields.prompt;
  inputs.write(schemas, fields);
  setLoras(fields.loras);
  setImages(images);
  setAudio(images.find(({ field }) => field === AUDIO) ?? null);
  control.setControl(fields, images.find(({ field }) => field === VIDEO)?.file);
  clearProblems();
  showMeaning();
  count();
}

/** Go on from an image, in a video of the size of the one that it comes from, where that is known. */
export function goOnFrom(file, { width, height }) {
  if (width && height) [byId("width").value, byId("height").value] = [width, height];
  control.setControl({});
  setFirstFrame(file);
  showMeaning();
  byId("prompt").focus();
}

/** Let a video follow that of a finished task. */
export function follow(id) {
  control.setControl({ source_task: id });
  byId("prompt").focus();
}

/** The fields to send. */
function collect() {
  const { loras: first = [], ...rest } = control.controlFields();
  const loras = [...first, ...chosenLoras()];
  const fields = { prompt: byId("prompt").value, ...inputs.read(schemas), ...rest, ...(loras.length && { loras }) };
  if (!chosenImages().length) delete fields.fit;
  return fields;
}

/** What to estimate. Audio and a control video are not sent: what follows from them is. */
async function collectForEstimate() {
  const [fields, images] = [collect(), chosenImages()];
  if (control.hasControl()) return collectControlForEstimate(fields, images);
  if (!chosenAudio().length) return { fields, images };
  const longest_s = schemas.num_frames.maximum / frameRate();
  const seconds = await usedSeconds(longest_s);
  const length = `${seconds.toFixed(1)} s of audio, ${Math.round(seconds * frameRate())} frames.`;
  return { fields: { ...fields, use: "a2v", duration: seconds }, images, length };
}

/** What to estimate for a control video. A browser does not tell its frame rate. */
async function collectControlForEstimate(fields, images) {
  const { duration_s: seconds, ...shape } = await control.controlShape();
  const [{ width, height }, frame_rate] = [fittedSize(shape, schemas), frameRate()];
  const num_frames = Math.max(1, Math.round(seconds * frame_rate));
  const frames = `${num_frames} frames if it has ${frame_rate} a second`;
  const length = `${width} × ${height}, ${seconds.toFixed(1)} s of video: ${frames}.`;
  return { fields: { ...fields, use: "control", width, height, num_frames, frame_rate }, images, length };
}

/** The files to send. A control video goes without audio. */
const chosen = () => [...chosenImages(), ...(control.hasControl() ? control.chosenControl() : chosenAudio())];

async function send(onSubmitted) {
  const button = byId("submit");
  if (button.disabled) return;
  clearProblems();
  const given = chosen();
  const fields = collect();
  const made = control.hasControl() ? { route: api.CONTROL, size: control.controlSize() } : {};
  button.disabled = true;
  try {
    onSubmitted(fields, given, await api.submit(fields, given, made.route), made);
  } catch (error) {
    showProblem(error);
  } finally {
    button.disabled = false;
  }
}

/** Offer prompts that the served model can draw. Does nothing if they are there. */
export function offerExamples(modelName) {
  const examples = modelName === "ltx2-demo" ? DEMO_EXAMPLES : EXAMPLES;
  if (offered === examples) return;
  offered = examples;
  byId("examples").replaceChildren();
  byId("ideas").replaceChildren();
  for (const [name, prompt] of Object.entries(examples)) {
    const use = () => {
      byId("prompt").value = prompt;
      count();
      byId("prompt").focus();
    };
    byId("examples").append(element("button", { type: "button", class: "chip", onclick: use }, name));
    const text = element("span", { class: "quiet" }, prompt);
    byId("ideas").append(element("button", { type: "button", class: "idea", onclick: use }, element("b", {}, name), text));
  }
}

function offerShapes() {
  for (const [name, [width, height]] of Object.entries(shapes(schemas))) {
    const choose = () => {
      byId("width").value = width;
      byId("height").value = height;
    };
    const input = element("input", { type: "radio", name: "shape", value: `${width}x${height}`, onchange: choose });
    const icon = element("span", { class: `shape ${name}`, "aria-hidden": "true" });
    byId("shapes").append(element("label", {}, input, icon, name[0].toUpperCase() + name.slice(1)));
  }
}

function offerLength() {
  const slider = byId("seconds");
  slider.max = Math.min(20, Math.floor(schemas.num_frames.maximum / schemas.frame_rate.default));
  slider.addEventListener("input", () => {
    byId("num_frames").value = framesFor(Number(slider.value), frameRate(), schemas.num_frames);
    showLength();
  });
}

const duration_s = () => Number(byId("num_frames").value) / frameRate();
const frameRate = () => Number(byId("frame_rate").value) || schemas.frame_rate.default;

/** Switch off what follows from the given audio or the control video, and what does not go with a control video. */
function showGiven() {
  const [follows, hasAudio] = [control.hasControl(), chosenAudio().length > 0];
  switchOff(byId("audio"), follows && NO_AUDIO);
  boundLoras((schemas.loras?.["x-max-loras"] ?? Infinity) - (follows ? 1 : 0));
  byId("shape-row").hidden = follows;
  byId("length-row").hidden = follows || hasAudio;
  for (const name of OF_THE_VIDEO) {
    const input = document.getElementById(name);
    const ofAudio = hasAudio && OF_THE_AUDIO.includes(name);
    if (input) switchOff(input.closest(".field"), (follows && "As the control video has it.") || (ofAudio && "Follows from the audio."));
  }
}

/** Update shape and length to match the exact parameters. */
function showMeaning() {
  const size = `${byId("width").value}x${byId("height").value}`;
  for (const input of document.querySelectorAll("[name=shape]")) input.checked = input.value === size;
  byId("seconds").value = duration_s();
  showLength();
}

function showLength() {
  const seconds = duration_s();
  byId("seconds-shown").textContent = `${seconds.toFixed(1)} s`;
  byId("seconds").setAttribute("aria-valuetext", `${seconds.toFixed(1)} seconds`);
}

function count() {
  byId("prompt-count").textContent = `${byId("prompt").value.length} / ${schemas.prompt?.maxLength ?? "…"}`;
}
