// The ControlNet units: one list for the whole page. Its value is a field of the form; panels and the timeline draw it.

const PLAIN = {
  model: "", image: "", preprocessor: "none", parameters: {}, weight: 1, start: 0, end: 1, ramp: "constant",
  resize: "crop", mode: "balanced", resolution: null, percent_rule: "step", muted: false,
};
const COLOURS = 8;

class Units extends EventTarget {
  constructor() {
    super();
    this.rows = [];
    this.keys = 0;
    this.write = null;
    this.text = "[]";
  }

  // The hidden field of the form: `write` puts a value into it, `value` is what it holds.
  attach(name, write, value) {
    this.write = write;
    this.read(name, value);
  }

  // The form was filled from elsewhere: the last session, or a picture.
  read(name, value) {
    if ((value || "[]") === this.text) return;
    let units;
    try {
      units = JSON.parse(value || "[]");
    } catch {
      units = [];
    }
    this.text = value || "[]";
    this.rows = [];
    for (const unit of Array.isArray(units) ? units : []) this.rows.push(this.row(unit));
    this.tell("rows");
  }

  // What only the page knows of a unit: `colour` is that of its band, `type` what its list of ControlNets is narrowed
  // to, `drawn` that its picture is a hint already.
  row(unit) {
    const taken = new Set(this.rows.map((row) => row.colour));
    const free = [...Array(COLOURS).keys()].find((colour) => !taken.has(colour));
    const key = ++this.keys;
    return { ...PLAIN, ...unit, parameters: { ...unit.parameters }, key, colour: free ?? key % COLOURS, type: null, drawn: false };
  }

  units() {
    return this.rows.map(unitOf);
  }

  active() {
    return this.rows.filter((row) => !row.muted);
  }

  find(key) {
    return this.rows.find((row) => row.key === key);
  }

  add(unit, place = this.rows.length) {
    const row = this.row(unit);
    this.rows.splice(place, 0, row);
    this.changed("rows");
    return row;
  }

  duplicate(key) {
    const row = this.find(key);
    const copy = row && this.add(unitOf(row), this.rows.indexOf(row) + 1);
    if (copy) Object.assign(copy, { type: row.type, drawn: row.drawn });
    return copy;
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

  // Take a unit out; answers what puts it back.
  remove(key) {
    const place = this.rows.findIndex((row) => row.key === key);
    if (place < 0) return () => {};
    const [row] = this.rows.splice(place, 1);
    this.changed("rows");
    return () => {
      if (this.rows.includes(row)) return;
      this.rows.splice(Math.min(place, this.rows.length), 0, row);
      this.changed("rows");
    };
  }

  clear() {
    const before = this.rows;
    this.rows = [];
    this.changed("rows");
    return () => {
      this.rows = [...before, ...this.rows];
      this.changed("rows");
    };
  }

  changed(kind) {
    this.text = JSON.stringify(this.units());
    this.write?.(this.text);
    this.tell(kind);
  }

  // Kinds: rows (came, went, moved), values (of a unit).
  tell(kind) {
    this.dispatchEvent(new Event(kind));
  }
}

// A row without what only the page knows of it.
export const unitOf = ({ key, colour, type, drawn, ...unit }) => unit;
export const units = new Units();
