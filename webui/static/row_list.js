// An ordered list of rows that is the value of a field of the form: the adapter stack, the ControlNet units. Panels
// draw it, and every change writes the field.

export class RowList extends EventTarget {
  constructor() {
    super();
    this.rows = [];
    this.keys = 0;
    this.text = "[]";
  }

  // --- what a list says itself: these stand for the plainest one ---

  // A row of a value; `key` is its own as long as the page is open.
  row(value) {
    return { ...value, key: ++this.keys };
  }

  // A row without what only the page knows of it.
  valueOf(row) {
    const { key, ...value } = row;
    return value;
  }

  isOn() {
    return true;
  }

  // Put a text into the field of the form.
  write() {}

  // What else goes when a row goes; answers what brings that back.
  letGo() {
    return () => {};
  }

  // Whether what was taken out must not come back.
  hasAgain(row) {
    return this.rows.includes(row);
  }

  // --- what all of them do ---

  // The form was filled from elsewhere: the last session, or a picture.
  readRows(text) {
    if ((text || "[]") === this.text) return;
    let values;
    try {
      values = JSON.parse(text || "[]");
    } catch {
      values = [];
    }
    this.text = text || "[]";
    this.rows = [];
    // One by one: a row may look at those before it.
    for (const value of Array.isArray(values) ? values : []) this.rows.push(this.row(value));
    this.tell("rows");
  }

  values() {
    return this.rows.map((row) => this.valueOf(row));
  }

  active() {
    return this.rows.filter((row) => this.isOn(row));
  }

  find(key) {
    return this.rows.find((row) => row.key === key);
  }

  insert(row, place = this.rows.length) {
    this.rows.splice(Math.min(place, this.rows.length), 0, row);
  }

  set(key, change) {
    const row = this.find(key);
    if (!row) return;
    Object.assign(row, change);
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

  // Take a row out; answers what puts it back.
  remove(key) {
    const place = this.rows.findIndex((row) => row.key === key);
    if (place < 0) return () => {};
    const [row] = this.rows.splice(place, 1);
    const back = this.letGo(row);
    this.changed("rows");
    return () => {
      if (this.hasAgain(row)) return;
      this.insert(row, place);
      back();
      this.changed("rows");
    };
  }

  changed(kind) {
    this.text = JSON.stringify(this.values());
    this.write(this.text);
    this.tell(kind);
    this.tell("edited", kind);
  }

  // Kinds: rows (came, went, moved), values (of a row), edited (by a person, with the kind as its detail).
  tell(kind, detail = null) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}
