// The adapter stack: one list for the whole page. Its values are fields of the form; panels and the gallery draw them.

import { prompt } from "./prompt.js";
import { shelf } from "./shelf.js";

const PLAIN = { unet_weight: 1, text_weight: null, enabled: true, start: 0, end: 1, blocks: [], add_trigger_words: true };
// With more words than this a file only lists what it knows; the first of them is the one that counts.
const WORDS_ADDED = 3;

class Stack extends EventTarget {
  constructor() {
    super();
    this.rows = [];
    this.keys = 0;
    this.fields = {};
    this.text = "[]";
    // What conflicts lead to: keep, normalize or priority.
    this.resolution = "keep";
  }

  // A hidden field of the form: `write` puts a value into it, `value` is what it holds.
  attach(name, write, value) {
    this.fields[name] = write;
    this.read(name, value);
  }

  // The form was filled from elsewhere: the last session, or a picture.
  read(name, value) {
    if (name === "adapters") return this.readRows(value);
    this.resolution = value || "keep";
    this.tell("values");
  }

  readRows(text) {
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
    const row = this.row({ name: view.id, unet_weight: weight ?? view.default_weight, add_trigger_words: false });
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
    const words = this.takeWords(row);
    this.changed("rows");
    return () => {
      if (this.holds(row.name)) return;
      this.rows.splice(Math.min(place, this.rows.length), 0, row);
      words.forEach(prompt.add);
      this.changed("rows");
    };
  }

  // Take over a whole list, such as a named stack; answers what brings back the one before.
  replace(refs) {
    const before = this.rows;
    this.rows = [];
    const words = before.flatMap((row) => this.takeWords(row));
    this.rows = refs.map((ref) => this.row(ref));
    for (const row of this.active()) shelf.learn(row.name).then((view) => this.rows.includes(row) && this.addWords(row, view));
    this.changed("rows");
    return () => {
      const these = this.rows;
      this.rows = before;
      for (const row of these) this.takeWords(row);
      words.forEach(prompt.add);
      this.changed("rows");
    };
  }

  addWords(row, view) {
    const words = view?.trigger_words ?? [];
    const added = (words.length > WORDS_ADDED ? words.slice(0, 1) : words).filter((word) => prompt.add(word));
    row.words = [...new Set([...row.words, ...added])];
  }

  // Words that came with a row go with it, unless another asks for them; what a person wrote stays.
  takeWords(row) {
    const words = row.words.filter((word) => prompt.has(word) && !this.wantedByOthers(word));
    words.forEach(prompt.remove);
    return words;
  }

  resolve(resolution) {
    this.resolution = resolution;
    this.fields.conflicts?.(resolution);
    this.tell("values");
    this.tell("edited", "values");
  }

  wantedByOthers(word) {
    return this.rows.some((row) => shelf.get(row.name)?.trigger_words.includes(word));
  }

  changed(kind) {
    this.text = JSON.stringify(this.refs());
    this.fields.adapters?.(this.text);
    this.tell(kind);
    this.tell("edited", kind);
  }

  // Kinds: rows (came, went, moved), values (of a row), views (more is known of an adapter), edited (by a person).
  tell(kind, detail = null) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}

// A row without what only the page knows of it.
export const refOf = ({ key, words, ...ref }) => ref;
export const stack = new Stack();
