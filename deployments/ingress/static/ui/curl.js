// Builds the curl command for the same request.

const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

import { authorization } from "./api-key.js";

// The key itself is not copied, because people show commands to others.
const KEY = '-H "Authorization: Bearer $LTX_API_KEY"';

export function asCurl(fields, withImage) {
  const base = new URL(".", document.baseURI).href;
  if (!withImage) {
    const lines = [`curl -sS ${base}v1/video/async_t2v`, "-H 'Content-Type: application/json'", ...keyLine()];
    return [...lines, `-d ${quote(JSON.stringify(fields))}`].join(" \\\n  ");
  }
  const form = Object.entries(fields).map(([name, value]) => `--form-string ${quote(`${name}=${value ?? ""}`)}`);
  return [`curl -sS ${base}v1/video/async_i2v`, ...keyLine(), ...form, "-F image=@image.jpg"].join(" \\\n  ");
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
