// Stores the tasks of this browser across reloads: newest first, each {id, fields, seed, images}, an edit, and one with a control video, also {route, size}.

import { IMAGE } from "./image-fields.js";

const KEY = "ltx2.recent";
const MOST = 60;

export function recent() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY));
    return Array.isArray(kept) ? kept.filter((each) => typeof each?.id === "string" && each.fields).map(upgrade) : [];
  } catch {
    return []; // storage is disabled, or holds invalid data
  }
}

/** An earlier page kept only whether there was an image. */
const upgrade = ({ withImage, ...entry }) => ({ ...entry, images: entry.images ?? (withImage ? [{ field: IMAGE, strength: 1 }] : []) });

export function keep(entry) {
  write([entry, ...recent().filter((each) => each.id !== entry.id)].slice(0, MOST));
}

export function forget(id) {
  write(recent().filter((each) => each.id !== id));
}

function write(entries) {
  try {
    localStorage.setItem(KEY, JSON.stringify(entries));
  } catch {
    // without storage the list is kept until the page is closed
  }
}
