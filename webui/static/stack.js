// The adapter stack: one list for the whole page. Its value is a field of the form; panels and the gallery draw it.

import { prompt } from "./prompt.js";
import { shelf } from "./shelf.js";

const PLAIN = { unet_weight: 1, text_weight: null, enabled: true, start: 0, end: 1, blocks: [] };
// With more words than this a file only lists what it knows; the first of them is the one that counts.
const WORDS_ADDED = 3;

class Stack extends EventTarget {
  constructor() {
    super();
    this.rows = [];
    this.keys = 0;
    this.write = null;
    this.text = "[]";
  }

  // The hidden field of the form: `write` puts text into it, `text` is what it holds.
  attach(write, text) {
    this.write = write;
    this.read(text);
  }

  // The form was filled from elsewhere: the last session, a picture, a named stack.
  read(text) {
    if ((text || "[]") === this.text) return;
    let refs;
    try {
      refs = JSON.parse(text || "[]");
    } catch {
      refs = [];
    }
    this.text = text || "[]";
    this.rows = (Array.isArray(refs) ? refs : []).map((ref) => this.row(ref));
    this.tell("rows");
  }

  row(ref) {
    const row = { ...PLAIN, ...ref, key: ++this.keys, words: [] };
    shelf.learn(row.name).then(() => this.tell("views"), () => this.tell("views"));
    return row;
  }

  refs() {
    return this.rows.map(refOf);
  }

  active() {
    return this.rows.filter((row) => row.enabled);
  }

  find(key) {
    return this.rows.find((row) => row.key === key);
  }

  // The row of an adapter, under whatever name it was put in.
  holds(id) {
    return this.rows.find((row) => row.name === id || shelf.get(row.name)?.id === id);
  }

  // Add an adapter with the weight and the words that it asks for; answers null where it is in the stack already.
  add(view, { weight = null } = {}) {
    if (this.holds(view.id)) return null;
    shelf.know(view);
    const row = this.row({ name: view.id, unet_weight: weight ?? view.default_weight });
    this.rows.push(row);
    this.addWords(row, view);
    this.changed("rows");
    return row;
  }

  set(key, change) {
    const row = this.find(key);
    if (!row) return;
    const switchedOn = change.enabled && !row.enabled;
    Object.assign(row, change);
    if (switchedOn) this.addWords(row, shelf.get(row.name));
    this.changed("values");
  }

  move(key, place) {
    const from = this.rows.findIndex((row) => row.key === key);
    const to = Math.max(0, Math.min(this.rows.length - 1, place));
    if (from < 0 || from === to) return false;
    this.rows.splice(to, 0, ...this.rows.splice(from, 1));
    this.changed("rows");
    return true;
  }

  // Take a row out; answers what puts it back, words and place included.
  remove(key) {
    const place = this.rows.findIndex((row) => row.key === key);
    if (place < 0) return () => {};
    const [row] = this.rows.splice(place, 1);
    // Only words that came with it, and that no other row asks for; what a person wrote stays.
    const words = row.words.filter((word) => prompt.has(word) && !this.wantedByOthers(word));
    for (const word of words) prompt.remove(word);
    this.changed("rows");
    return () => {
      if (this.holds(row.name)) return;
      this.rows.splice(Math.min(place, this.rows.length), 0, row);
      for (const word of words) prompt.add(word);
      this.changed("rows");
    };
  }

  // Take over a whole list, such as a named stack; answers what brings back the one before.
  replace(refs) {
    const before = this.rows;
    this.rows = refs.map((ref) => this.row(ref));
    this.changed("rows");
    return () => {
      this.rows = before;
      this.changed("rows");
    };
  }

  addWords(row, view) {
    const words = view?.trigger_words ?? [];
    const added = (words.length > WORDS_ADDED ? words.slice(0, 1) : words).filter((word) => prompt.add(word));
    row.words = [...new Set([...row.words, ...added])];
  }

  wantedByOthers(word) {
    return this.rows.some((row) => shelf.get(row.name)?.trigger_words.includes(word));
  }

  changed(kind) {
    this.text = JSON.stringify(this.refs());
    this.write?.(this.text);
    this.tell(kind);
    this.tell("edited", kind);
  }

  // Kinds: rows (came, went, moved), values (of a row), views (more is known of an adapter), edited (by a person).
  tell(kind, detail = null) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}

export const refOf = ({ name, unet_weight, text_weight, enabled, start, end, blocks }) => ({ name, unet_weight, text_weight, enabled, start, end, blocks });
export const stack = new Stack();
