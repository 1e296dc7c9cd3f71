// Builds the curl command for the same request.

import { authorization } from "./api-key.js";
import { asText, routeOf } from "./api.js";
import { AUDIO, KEYFRAME, VIDEO, placesOf } from "./image-fields.js";

const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

const ENDINGS = { [AUDIO]: "wav", [VIDEO]: "mp4" };

// The key itself is not copied, because people show commands to others.
const KEY = '-H "Authorization: Bearer $LTX_API_KEY"';

/** The command for a request. The names of the image files stand for files of the reader. */
export function asCurl(fields, images, route = routeOf(images)) {
  const base = new URL(".", document.baseURI).href;
  if (images.length === 0) {
    const lines = [`curl -sS ${base}v1/video/${route}`, "-H 'Content-Type: application/json'", ...keyLine()];
    return [...lines, `-d ${quote(JSON.stringify(fields))}`].join(" \\\n  ");
  }
  const plain = [...Object.entries(fields), ...placesOf(images)];
  const form = plain.map(([name, value]) => `--form-string ${quote(`${name}=${asText(value)}`)}`);
  return [`curl -sS ${base}v1/video/${route}`, ...keyLine(), ...form, ...files(images)].join(" \\\n  ");
}

function files(images) {
  let keyframes = 0;
  const number = (field) => (field === KEYFRAME ? `-${(keyframes += 1)}` : "");
  return images.map(({ field }) => `-F ${field}=@${field}${number(field)}.${ENDINGS[field] ?? "jpg"}`);
}

const keyLine = () => ("Authorization" in authorization() ? [KEY] : []);

export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea"); // plain http to another host has no clipboard
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
