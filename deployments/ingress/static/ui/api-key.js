// The API key, where the server asks for one: kept by this browser, and asked for when it is missing or refused.

import { announce, byId } from "./dom.js";

const KEY = "ltx2.key";

let kept = read();
let wanted = false; // the server asks for a key, and there is none that it takes

/** Prepare the form. `onKey` is called when there is a key to try. */
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

/** What the server says of itself: whether it asks for a key. */
export function setRequired(required) {
  byId("key-change").hidden = !required;
  if (required && !kept && !wanted) ask("This server asks for an API key.");
}

/** The server has refused the key that was sent. */
export function refused() {
  if (kept) ask("This key is not known to the server.");
  else ask("This server asks for an API key.");
}

/** Whether it is of no use to ask the server for more than its health. */
export const missing = () => wanted;

/** What to send with a request. */
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
    // without storage it is known as long as the page
  }
}

function read() {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}
