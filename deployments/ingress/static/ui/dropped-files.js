// Files that are dropped or pasted go to the field that takes them.

import { audio, isAudio } from "./audio-input.js";
import { control, isVideo } from "./control-input.js";
import { clearProblems, showProblem } from "./errors.js";
import { imagesIn } from "./image-slot.js";
import { takeImages } from "./images.js";

const MEDIA = [
  { field: control, takes: isVideo },
  { field: audio, takes: isAudio },
];

export function listenForFiles() {
  document.addEventListener("paste", ({ clipboardData }) => take(clipboardData));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(event.target);
  });
  document.addEventListener("dragleave", ({ relatedTarget }) => relatedTarget || mark(null));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(null);
    take(event.dataTransfer, event.target);
  });
}

/** Take files where they were dropped, and elsewhere by their type. A pasted file has no `target`. */
function take(data, target = null) {
  const [files, images] = [[...(data?.files ?? [])], imagesIn(data)];
  const fit = MEDIA.filter(({ field, takes }) => !field.node.hidden && files.some(takes));
  const { field, takes } = fit.find((each) => each.field.node.contains(target)) ?? fit[0] ?? {};
  if (!field && !images.length) return;
  clearProblems();
  if (field && !isOff(field.node)) field.set(files.find(takes));
  if (images.length) takeImages(images, target);
}

/** Whether a field is switched off, which is then told. */
function isOff(field) {
  if (field.disabled) showProblem({ message: field.querySelector(".why").textContent });
  return field.disabled;
}

/** Mark the place that a dragged file would be dropped on. */
function mark(target) {
  for (const place of document.querySelectorAll(".slot, .add")) {
    place.classList.toggle("over", target !== null && place.contains(target) && !place.closest("fieldset:disabled"));
  }
}
