// The button that lets the server's language model write out the prompt. The text is shown, to be edited or taken back.

import * as api from "./api.js";
import { byId } from "./dom.js";
import { clearProblems, showProblem } from "./errors.js";

const WRITE = "Write it out";
const UNDO = "Back to mine";

let given = null;
let written = null;

/** `collect` returns the fields and the images to send; `changed` is called when the prompt has another text. */
export function listenForEnhance(collect, changed) {
  const button = byId("enhance");
  const prompt = byId("prompt");
  const show = (text) => {
    prompt.value = text;
    changed();
    label();
    prompt.focus();
  };
  button.addEventListener("click", async () => {
    if (prompt.value === written) return show(given);
    clearProblems();
    button.disabled = true;
    prompt.readOnly = true;
    button.textContent = "Writing…";
    try {
      const [fields, images] = collect();
      written = await api.enhance(fields, images);
      given = fields.prompt;
      prompt.readOnly = false;
      show(written);
    } catch (error) {
      showProblem(error);
    } finally {
      button.disabled = false;
      prompt.readOnly = false;
      label();
    }
  });
  prompt.addEventListener("input", label);
}

/** Show the button where the server has a language model. */
export function offerEnhance({ enhances_prompts: offered = false }) {
  byId("enhance").hidden = !offered;
}

function label() {
  byId("enhance").textContent = byId("prompt").value === written ? UNDO : WRITE;
}
