// Switches fields of the form off, and says why.

import { element } from "./dom.js";

/** Switch off the inputs of a field, because of `why`; or on, where that is empty. Those that are off are not sent. */
export function switchOff(field, why) {
  const inputs = field.matches("fieldset") ? [field] : field.querySelectorAll("input, select, textarea");
  for (const each of inputs) each.disabled = Boolean(why);
  field.querySelector(":scope > .why")?.remove();
  if (why) field.querySelector("legend, label").after(element("p", { class: "quiet why" }, why));
}
