// The ControlNet units: one list for the whole page. Its value is a field of the form; panels and the timeline draw it.

import { RowList } from "./row_list.js";

const PLAIN = {
  kind: "controlnet", model: "", image: "", preprocessor: "none", hint_type: "", parameters: {}, weight: 1, start: 0, end: 1, ramp: "constant",
  resize: "crop", mode: "balanced", resolution: null, percent_rule: "step", fidelity: 0.5, muted: false,
};
const COLOURS = 8;

class Units extends RowList {
  // The hidden field of the form: `write` puts a value into it, `value` is what it holds.
  attach(name, write, value) {
    this.write = write;
    this.read(name, value);
  }

  // The form was filled from elsewhere: the last session, or a picture.
  read(name, value) {
    this.readRows(value);
  }

  // What only the page knows of a unit: `colour` is that of its band, `type` what its list of ControlNets is narrowed
  // to, `drawn` that its picture is a hint already.
  row(unit) {
    const taken = new Set(this.rows.map((row) => row.colour));
    const free = [...Array(COLOURS).keys()].find((colour) => !taken.has(colour));
    const key = ++this.keys;
    return { ...PLAIN, ...unit, parameters: { ...unit.parameters }, key, colour: free ?? key % COLOURS, type: null, drawn: false };
  }

  valueOf(row) {
    return unitOf(row);
  }

  isOn(row) {
    return !row.muted;
  }

  add(unit, place = this.rows.length) {
    const row = this.row(unit);
    this.insert(row, place);
    this.changed("rows");
    return row;
  }

  duplicate(key) {
    const row = this.find(key);
    const copy = row && this.add(unitOf(row), this.rows.indexOf(row) + 1);
    if (copy) Object.assign(copy, { type: row.type, drawn: row.drawn });
    return copy;
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
}

// A row without what only the page knows of it.
export const unitOf = ({ key, colour, type, drawn, ...unit }) => unit;
export const units = new Units();
