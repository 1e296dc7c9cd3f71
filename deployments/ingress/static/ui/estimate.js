// The button that asks what the video would take: time, GPU memory, and what fits otherwise.

import * as api from "./api.js";
import { byId } from "./dom.js";
import { clearProblems, showProblem } from "./errors.js";
import { duration } from "./format.js";

/** `collect` resolves to the fields and the images to send, and says what the length follows from, if not the form. */
export function listenForEstimate(collect) {
  const button = byId("estimate");
  button.addEventListener("click", async () => {
    clearProblems();
    button.disabled = true;
    show("Estimating…");
    try {
      const { fields, images, length = "" } = await collect();
      show(`${length} ${describe(await api.estimate(fields, images))}`.trim());
      byId("estimate-row").scrollIntoView({ block: "nearest" }); // the answer may have more lines than there was room for
    } catch (error) {
      show("");
      showProblem(error);
    } finally {
      button.disabled = false;
    }
  });
  byId("composer").addEventListener("input", () => show(""));
  byId("composer").addEventListener("given", () => show(""));
}

function describe({ fits, gb, seconds, nearest }) {
  if (!fits) return `Too large for the GPU. What fits: ${nearest.map(shape).join("; ")}`;
  const time = seconds === null ? "Fits. Its time is not known yet." : `Takes about ${duration(seconds)}.`;
  return gb === null ? time : `${time} ${gb} GB of GPU memory beside the model.`;
}

const shape = ({ width, height, num_frames: frames }) => `${width} × ${height} with ${frames} frames`;

function show(text) {
  byId("estimated").textContent = text;
}
