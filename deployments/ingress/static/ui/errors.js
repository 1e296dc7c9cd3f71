// Shows an error next to the field that caused it.

import { byId, element } from "./dom.js";

export function clearProblems() {
  for (const text of document.querySelectorAll(".field-problem")) text.remove();
  for (const input of document.querySelectorAll("[aria-invalid]")) {
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-errormessage");
  }
  byId("problem").hidden = true;
}

export function showProblem(error) {
  const input = error.field && findInput(error);
  if (!input) {
    byId("problem").textContent = error.message;
    byId("problem").hidden = false;
    return;
  }
  const id = `${error.field}-problem`;
  const text = error.allowed ? `Must be ${error.allowed}. You gave ${error.given}.` : error.message;
  input.closest(".field").append(element("p", { id, class: "field-problem", role: "alert" }, text));
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-errormessage", id);
  const folded = input.closest("details");
  if (folded) folded.open = true;
  input.focus();
}

/** The input of the field. Where several have its name, the one with the value that the server refused. */
function findInput({ field, given }) {
  const inputs = [...document.querySelectorAll(`#composer [name="${CSS.escape(field)}"]`)];
  return inputs.find((each) => given === JSON.stringify(each.dataset.value)) ?? inputs[0];
}
