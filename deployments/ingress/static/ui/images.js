// The images of a video: its first frame, its last one, and keyframes between them.

import { announce, byId, element } from "./dom.js";
import { END_IMAGE, IMAGE, KEYFRAME } from "./image-fields.js";
import { fileInput, makeSlot } from "./image-slot.js";
import { nextPlace, placeInput } from "./keyframe-place.js";

const MOST_KEYFRAMES = 8;

const ends = [makeSlot(IMAGE, "First frame", () => {}), makeSlot(END_IMAGE, "Last frame", () => {})];
const adder = fileInput({ id: "keyframe-files", multiple: true, "aria-label": "Add keyframes: choose images" });
const add = element("label", { class: "add" }, element("b", {}, "+ Keyframe"), element("span", {}, "an image in between"), adder);
let keyframes = [];
let duration_s = () => 0;

/** Prepare the places of the first and the last frame. */
export function offerEnds() {
  byId("ends").append(...ends.map(({ node }) => node));
}

/** Offer keyframes. `duration` returns the length of the video in seconds. */
export function offerKeyframes(duration) {
  duration_s = duration;
  adder.addEventListener("change", () => {
    [...adder.files].forEach((file) => addKeyframe({ file }));
    adder.value = "";
  });
  byId("keyframes").append(add);
}

/** The chosen images in the order in which they are sent: {field, file, strength, at}; only keyframes have `at`. */
export function chosenImages() {
  return [...ends, ...keyframes]
    .filter((slot) => slot.file())
    .map((slot) => ({ field: slot.field, file: slot.file(), strength: slot.strength(), ...(slot.at && { at: slot.at() }) }));
}

/** Show exactly these images. One whose file is lost keeps its place and its strength, and waits for a file. */
export function setImages(images) {
  for (const end of ends) put(end, images.find(({ field }) => field === end.field));
  keyframes.forEach(({ node }) => node.remove());
  keyframes = [];
  for (const image of images) if (image.field === KEYFRAME) addKeyframe(image);
  showKeyframes();
}

/** Put an image in place of the first frame. */
export function setFirstFrame(file) {
  put(ends[0], { file });
  announce("First frame chosen");
}

function put(slot, { file = null, strength = 1 } = {}) {
  slot.set(file);
  slot.setStrength(strength);
}

function addKeyframe(image) {
  if (keyframes.length === MOST_KEYFRAMES) return announce(`A video has at most ${MOST_KEYFRAMES} keyframes`);
  const place = placeInput(image.at ?? nextPlace(keyframes.map(({ at }) => at()), duration_s()));
  const slot = makeSlot(KEYFRAME, "Keyframe", () => remove(slot), place.node);
  slot.at = place.get;
  put(slot, image);
  keyframes.push(slot);
  byId("keyframes").insertBefore(slot.node, add.parentNode && add);
  showKeyframes();
  byId("keyframes").scrollLeft = byId("keyframes").scrollWidth;
  announce(`Keyframe at ${place.get()} added`);
}

function remove(slot) {
  slot.node.remove();
  keyframes = keyframes.filter((each) => each !== slot);
  showKeyframes();
  adder.focus();
}

function showKeyframes() {
  byId("keyframes").classList.toggle("filled", keyframes.length > 0);
  add.hidden = keyframes.length === MOST_KEYFRAMES;
}

/** Put files where they were dropped; elsewhere, or pasted, into the free ends, and then over the first frame. */
export function takeImages(files, target) {
  const dropped = [...ends, ...keyframes].find(({ node }) => node.contains(target));
  if (add.contains(target)) return files.forEach((file) => addKeyframe({ file }));
  for (const file of files.slice(0, dropped ? 1 : ends.length)) {
    const slot = dropped ?? ends.find((each) => !each.file()) ?? ends[0];
    slot.set(file);
    announce(`${slot.label}: ${file.name} chosen`);
  }
}
