// The place of a keyframe in the video: seconds, or the number of a frame.

import { element } from "./dom.js";
import { KEYFRAME_AT } from "./image-fields.js";

const SECONDS = "s";
const FRAME = "";

/** Build the input of a place, such as "1.5s" or "36". */
export function placeInput(place) {
  const number = element("input", { type: "number", name: KEYFRAME_AT, step: "any", "aria-label": "Keyframe: its place" });
  const unit = element("select", { "aria-label": "Keyframe: unit of its place" });
  unit.append(element("option", { value: SECONDS }, "s"), element("option", { value: FRAME }, "frame"));
  unit.value = place.endsWith(SECONDS) ? SECONDS : FRAME;
  number.value = place.replace(SECONDS, "");
  const get = () => `${number.value}${unit.value}`;
  const keep = () => (number.dataset.value = get());
  number.addEventListener("input", keep);
  unit.addEventListener("change", keep);
  keep();
  return { node: element("div", { class: "place" }, "At ", number, unit), get };
}

/** The middle of the longest part of the video without an image. */
export function nextPlace(places, duration_s) {
  const taken = places.filter((place) => place.endsWith(SECONDS)).map((place) => Number(place.replace(SECONDS, "")));
  const edges = [0, ...taken.filter((at_s) => at_s < duration_s).sort((a, b) => a - b), duration_s];
  let [from_s, longest_s] = [0, 0];
  for (let each = 1; each < edges.length; each += 1) {
    const part_s = edges[each] - edges[each - 1];
    if (part_s > longest_s) [from_s, longest_s] = [edges[each - 1], part_s];
  }
  return `${Math.round((from_s + longest_s / 2) * 10) / 10}${SECONDS}`;
}
