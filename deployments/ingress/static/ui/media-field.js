// A field for one audio or one video: chosen from files or dropped, played, and taken away.

import { announce, byId } from "./dom.js";

export class MediaField {
  /** `id` begins the ids of its elements, and `title` names it. `clear` is called to take away what is given. */
  constructor(id, title, clear) {
    [this.id, this.title, this.clear] = [id, title, clear];
    this.file = null;
    this.isGiven = false;
    this.url = null;
  }

  /** Show the field. `changed` is called when something else is given, or nothing. */
  offer(changed) {
    const input = this.part("file");
    this.node.hidden = false;
    input.addEventListener("change", () => input.files.length && this.set(input.files[0]));
    this.part("remove").addEventListener("click", () => {
      this.clear();
      input.focus();
    });
    this.player.addEventListener("error", () => this.isGiven && this.#tellUnplayable());
    this.node.addEventListener("given", changed);
  }

  /** Show this file, or something without a file by its name, or nothing. */
  set(file, name = file?.name ?? "") {
    const hadOne = this.isGiven;
    if (this.url) URL.revokeObjectURL(this.url);
    this.file = file;
    this.isGiven = name !== "";
    this.url = file ? URL.createObjectURL(file) : null;
    this.play(this.url);
    this.part("chosen").hidden = !this.isGiven;
    this.part("offer").hidden = this.isGiven;
    this.part("name").textContent = name;
    if (!file) this.part("file").value = "";
    if (this.isGiven) announce(`${this.title}: ${name} chosen`);
    else if (hadOne) announce(`${this.title}: none`);
    this.node.dispatchEvent(new Event("given", { bubbles: true }));
  }

  /** The server may read a file that this browser cannot. */
  #tellUnplayable() {
    this.player.hidden = true;
    this.part("name").textContent += ": chosen, though this browser cannot play it";
  }

  /** Play this url, or nothing. */
  play(url) {
    this.player.hidden = false;
    if (url) {
      this.player.src = url;
      return;
    }
    this.player.removeAttribute("src");
    this.player.load(); // it would keep the earlier one
  }

  get node() {
    return byId(this.id);
  }

  get player() {
    return this.part("player");
  }

  part(name) {
    return byId(`${this.id}-${name}`);
  }
}
