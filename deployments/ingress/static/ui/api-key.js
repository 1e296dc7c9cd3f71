// The API key, if the server requires one. The browser stores it. The page asks for it if it is missing or rejected.

import { announce, byId } from "./dom.js";

const KEY = "ltx2.key";

let kept = read();
let wanted = false; // the server requires a key, and no valid key is stored

/** Prepare the form. `onKey` is called when the user has entered a key. */
export function openKeyForm(onKey) {
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const typed = byId("key").value.trim();
    if (!typed) return byId("key").focus();
    keep(typed);
    show(false);
    byId("submit").focus();
    announce("The key is kept in this browser");
    onKey();
  });
  byId("key-change").addEventListener("click", () => {
    show(true);
    byId("key").focus();
  });
}

/** Handle the answer of /health: whether the server requires a key. */
export function setRequired(required) {
  byId("key-change").hidden = !required;
  if (required && !kept && !wanted) ask("This server asks for an API key.");
}

/** The server rejected the key that was sent. */
export function refused() {
  if (kept) ask("This key is not known to the server.");
  else ask("This server asks for an API key.");
}

/** True if only /health can be requested, because no valid key is stored. */
export const missing = () => wanted;

/** The headers to send with a request. */
export const authorization = () => (kept ? { Authorization: `Bearer ${kept}` } : {});

function ask(why) {
  if (wanted) return;
  wanted = true;
  byId("key-why").textContent = why;
  show(true);
}

function show(open) {
  byId("key-form").hidden = !open;
  if (open) byId("key").value = kept;
}

function keep(key) {
  kept = key;
  wanted = false;
  try {
    localStorage.setItem(KEY, key);
  } catch {
    // without storage the key is kept until the page is closed
  }
}

function read() {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}
