// The adapter stack: one list for the whole page. Its values are fields of the form; panels and the gallery draw them.
// Beside the kinds of every list it tells "views": more is known of an adapter.

import { prompt } from "./prompt.js";
import { RowList } from "./row_list.js";
import { shelf } from "./shelf.js";

const PLAIN = { unet_weight: 1, text_weight: null, enabled: true, start: 0, end: 1, blocks: [], add_trigger_words: true };
// With more words than this a file only lists what it knows; the first of them is the one that counts.
const WORDS_ADDED = 3;

class Stack extends RowList {
  constructor() {
    super();
    this.fields = {};
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

  row(ref) {
    const row = { ...PLAIN, ...ref, key: ++this.keys, words: [] };
    shelf.learn(row.name).then(() => this.tell("views"), () => this.tell("views"));
    return row;
  }

  valueOf(row) {
    return refOf(row);
  }

  isOn(row) {
    return row.enabled;
  }

  write(text) {
    this.fields.adapters?.(text);
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
    this.insert(row);
    this.addWords(row, view);
    this.changed("rows");
    return row;
  }

  set(key, change) {
    const row = this.find(key);
    if (row && change.enabled && !row.enabled) this.addWords(row, shelf.get(row.name));
    super.set(key, change);
  }

  letGo(row) {
    const words = this.takeWords(row);
    return () => words.forEach(prompt.add);
  }

  hasAgain(row) {
    return Boolean(this.holds(row.name));
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
}

// A row without what only the page knows of it.
export const refOf = ({ key, words, ...ref }) => ref;
export const stack = new Stack();
