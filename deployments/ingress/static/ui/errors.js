// Shows an error next to the field that caused it.

import { byId, element } from "./dom.js";
import { VIDEO } from "./image-fields.js";

export function clearProblems() {
  for (const text of document.querySelectorAll(".field-problem")) text.remove();
  for (const input of document.querySelectorAll("[aria-invalid]")) {
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-errormessage");
  }
  for (const text of document.querySelectorAll(".problem")) text.hidden = true;
}

/** Show an error in a form: next to its field, or in the form's element of the class `problem`. */
export function showProblem(error, form = byId("composer")) {
  const input = error.field && findInput(error, form);
  if (!input) {
    const text = form.querySelector(".problem");
    text.textContent = error.message;
    text.hidden = false;
    return;
  }
  const folded = input.closest("details");
  if (folded) folded.open = true;
  const field = input.closest(".field");
  const others = [...field.querySelectorAll("button")]; // a chosen file hides its input
  const focused = [input, ...others].find(seen) ?? input;
  const id = `${form.id}-${error.field}-problem`;
  const text = error.allowed ? `Must be ${error.allowed}. You gave ${error.given}.` : error.message;
  const problem = element("p", { id, class: "field-problem", role: "alert" }, text);
  if (focused === input) field.append(problem);
  else focused.closest(".row").after(problem);
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-errormessage", id);
  focused.focus();
}

const seen = (node) => node.offsetParent !== null;

/**
 * The input of the field, if it can be seen. Where several have its name, the one with the refused value. A source task
 * is shown in place of a file.
 */
function findInput({ field, given }, form) {
  const name = field === "source_task" ? VIDEO : field;
  const named = [...form.querySelectorAll(`[name="${CSS.escape(name)}"]`)];
  const inputs = named.filter((each) => !each.matches(":disabled") && !each.closest(".field").closest("[hidden]"));
  return inputs.find((each) => given === JSON.stringify(each.dataset.value)) ?? inputs[0];
}
