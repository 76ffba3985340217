// A drawing as a list of strokes: undone by taking one away and painting the rest anew.

export class Drawing {
  constructor(canvas) {
    this.canvas = canvas;
    this.paper = canvas.getContext("2d");
    // Strokes have a sheet of their own: what is erased shows the paper, whatever it is.
    this.layer = document.createElement("canvas");
    this.ink = this.layer.getContext("2d");
    this.strokes = [];
    this.undone = [];
    this.ground = "#000000";
    this.base = null;
  }

  // A new sheet in the size of the result, in pixels.
  reset(width, height) {
    for (const sheet of [this.canvas, this.layer]) Object.assign(sheet, { width, height });
    this.strokes = [];
    this.undone = [];
    this.base = null;
    this.paint();
  }

  // `colour` of null is the eraser. Points are in pixels of the canvas.
  begin(colour, size, point) {
    this.strokes.push({ colour, size, points: [point] });
    this.undone = [];
    this.paint();
  }

  go(point) {
    this.strokes.at(-1)?.points.push(point);
    this.paint();
  }

  clear() {
    if (this.strokes.length && this.strokes.at(-1).clear) return;
    this.strokes.push({ clear: true });
    this.undone = [];
    this.paint();
  }

  undo() {
    if (this.strokes.length) this.undone.push(this.strokes.pop());
    this.paint();
  }

  redo() {
    if (this.undone.length) this.strokes.push(this.undone.pop());
    this.paint();
  }

  get empty() {
    return !this.base && (!this.strokes.length || Boolean(this.strokes.at(-1).clear));
  }

  paint() {
    const { ink, layer } = this;
    ink.clearRect(0, 0, layer.width, layer.height);
    for (const stroke of this.strokes) {
      if (stroke.clear) ink.clearRect(0, 0, layer.width, layer.height);
      else line(ink, stroke);
    }
    this.sheet();
    this.paper.drawImage(layer, 0, 0);
    this.canvas.dispatchEvent(new Event("painted"));
  }

  sheet() {
    const { paper, canvas, base } = this;
    paper.fillStyle = this.ground;
    paper.fillRect(0, 0, canvas.width, canvas.height);
    if (!base) return;
    const scale = Math.max(canvas.width / base.naturalWidth, canvas.height / base.naturalHeight);
    const [width, height] = [base.naturalWidth * scale, base.naturalHeight * scale];
    paper.drawImage(base, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
  }
}

function line(paper, { colour, size, points }) {
  paper.globalCompositeOperation = colour === null ? "destination-out" : "source-over";
  paper.strokeStyle = colour ?? "#000000";
  paper.fillStyle = paper.strokeStyle;
  paper.lineWidth = size;
  paper.lineCap = "round";
  paper.lineJoin = "round";
  paper.beginPath();
  if (points.length === 1) paper.arc(points[0].x, points[0].y, size / 2, 0, 2 * Math.PI);
  else for (const [place, { x, y }] of points.entries()) place ? paper.lineTo(x, y) : paper.moveTo(x, y);
  if (points.length === 1) paper.fill();
  else paper.stroke();
}
