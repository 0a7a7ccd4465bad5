"use strict";
/* The charts: SVG from the page's data (analysis/charts.py says what it holds).

   Mouse: the point nearest to the pointer is read out; dragging zooms, a double click resets.
   Touch: a tap reads, a sideways drag zooms, a double tap resets; up and down still scrolls.
   Keys: ← → along a line, ↑ ↓ to the next line, + − zoom, 0 or Esc resets. */
const Charts = (() => {
  const NS = document.querySelector("svg").namespaceURI;
  const MARGIN = { top: 10, right: 14, bottom: 40, left: 58 };
  const NAMES = 92; // px at the right, for names at the ends of curves
  const LINE = 14; // px between two names
  const REACH = 60; // px between pointer and point
  const DRAG = 6; // px that make a press a drag
  const ONE_WAY = 14; // px: a drag that is thinner zooms along the other axis alone
  const COLUMNS = {
    train_error: ["training error", " %"], test_error: ["test error", " %"],
    train_gap: ["training error, plain − residual", " points"],
    test_gap: ["test error, plain − residual", " points"],
    difference: ["test − training error", " points"], iteration: ["iteration", ""],
    milliseconds: ["an iteration", " ms"], std: ["standard deviation", ""],
    seconds: ["a point", " s"], minutes: ["a point", " min"], hours: ["a point", " h"],
  };

  function node(name, attributes = {}, ...children) {
    const made = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function html(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function inked(element, colour) {
    if (colour) {
      element.style.setProperty("--on-light", colour[0]);
      element.style.setProperty("--on-dark", colour[1]);
    }
    element.classList.add("ink");
    return element;
  }

  // ---- numbers

  /* Between data and pixels; logarithmic where the axis is. */
  function scale([low, high], [from, to], log) {
    const [into, back] = log ? [Math.log, Math.exp] : [(v) => v, (v) => v];
    const a = into(low), factor = (to - from) / (into(high) - a || 1);
    return { px: (v) => from + (into(v) - a) * factor, value: (px) => back(a + (px - from) / factor) };
  }

  function roundTicks([low, high], about) {
    const rough = (high - low) / about, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * ([1, 2, 5, 10].find((m) => m * power >= rough) ?? 10);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(k * step);
    return found;
  }

  function short(value) {
    if (Math.abs(value) >= 1e4) return `${Number((value / 1e3).toPrecision(6))}k`;
    return String(Number(value.toPrecision(6)));
  }

  function exactly(value) {
    if (Number.isInteger(value) && Math.abs(value) >= 100) return value.toLocaleString("en-US");
    return Math.abs(value) >= 100 ? value.toFixed(1) : value.toFixed(2);
  }

  // ---- one panel

  class Plot {
    constructor(figure, panel, host) {
      Object.assign(this, { figure, panel, host, chosen: null, drag: null });
      this.home = { x: [panel.x.low, panel.x.high], y: [panel.y.low, panel.y.high] };
      this.view = this.home;
      this.svg = node("svg", {
        class: "plot", tabindex: 0, role: "application",
        "aria-label": `${figure.chart.title}, ${panel.title}: arrow keys read points, plus and minus zoom`,
      });
      this.clip = `clip-${figure.id}-${figure.plots.length}`;
      this.readout = html("div", { class: "readout", role: "status", hidden: "" });
      host.append(html("h4", {}, panel.title), this.svg, this.readout);
      if (panel.notes) host.append(html("ul", { class: "notes" }, ...panel.notes.map((t) => html("li", {}, t))));
      this.listen();
      new ResizeObserver(() => this.resized()).observe(this.svg);
      this.render();
    }

    get visible() {
      return (this.panel.series ?? []).filter((s) => s.tags.every((t) => !this.figure.hidden.has(t)));
    }

    resized() {
      if (this.svg.clientWidth !== this.width || this.svg.clientHeight !== this.height) this.render();
    }

    /* The points of a series in pixels: [x, y, index]; null where it has a gap. */
    points(series) {
      const line = this.figure.lines[series.line], aside = series.aside ?? 1;
      return line.y[series.column].map((y, i) =>
        y === null || line.x[i] === null ? null : [this.x.px(line.x[i] * aside), this.y.px(y), i]);
    }

    render() {
      [this.width, this.height] = [this.svg.clientWidth, this.svg.clientHeight];
      if (!this.width || !this.height) return; // folded away: drawn when it opens
      const right = this.width - this.right, bottom = this.height - MARGIN.bottom;
      this.x = scale(this.view.x, [MARGIN.left, right], this.panel.x.log);
      this.y = scale(this.view.y, [bottom, MARGIN.top]);
      const inner = { x: MARGIN.left, y: MARGIN.top, width: right - MARGIN.left, height: bottom - MARGIN.top };
      const content = node("g", { "clip-path": `url(#${this.clip})` });
      if (this.panel.zero) content.append(this.level(0, "zero", inner));
      for (const series of this.visible) content.append(this.drawn(series));
      this.overlay = node("g", { "clip-path": `url(#${this.clip})` });
      this.svg.replaceChildren(
        node("defs", {}, node("clipPath", { id: this.clip }, node("rect", inner))),
        ...this.axes(inner), content, ...this.names(inner), this.overlay);
      this.show();
    }

    get right() {
      return this.panel.x.log ? MARGIN.right : NAMES;
    }

    /* The networks' names behind the ends of their strong curves, apart where these lie together. */
    names(inner) {
      if (this.panel.x.log) return [];
      const ends = new Map(); // the last of a network's series is the test error
      for (const series of this.visible.filter((s) => (s.kind ?? "mean") === "mean")) {
        const end = this.points(series).filter((p) => p && this.inside(p)).at(-1);
        if (end) ends.set(series.tags[0], { series, y: end[1] });
      }
      const sorted = [...ends].sort(([, a], [, b]) => a.y - b.y);
      sorted.forEach(([, at], i) => { at.y = Math.max(at.y, i ? sorted[i - 1][1].y + LINE : inner.y + 4); });
      const over = Math.max(0, (sorted.at(-1)?.[1].y ?? 0) - (inner.y + inner.height));
      return sorted.map(([name, { series, y }]) => inked(node("g", {},
        node("path", { class: "curve", d: `M${inner.x + inner.width + 4} ${y - over}h8` }),
        node("text", { x: inner.x + inner.width + 16, y: y - over + 4 }, name)), series.colour));
    }

    level(value, name, inner) {
      const y = this.y.px(value);
      return node("line", { class: name, x1: inner.x, x2: inner.x + inner.width, y1: y, y2: y });
    }

    axes(inner) {
      const made = [], { x, y } = this.panel, bottom = inner.y + inner.height;
      for (const v of roundTicks(this.view.y, inner.height / 36)) {
        made.push(this.level(v, "grid", inner),
          node("text", { x: inner.x - 6, y: this.y.px(v) + 4, "text-anchor": "end" }, short(v)));
      }
      let free = -Infinity;
      for (const v of x.ticks ?? roundTicks(this.view.x, inner.width / 75)) {
        const px = this.x.px(v), label = short(v), half = 3.6 * label.length;
        if (px < inner.x - 1 || px > inner.x + inner.width + 1) continue;
        made.push(node("line", { class: "grid", x1: px, x2: px, y1: inner.y, y2: bottom }));
        if (px - half < free) continue;
        free = px + half + 6;
        made.push(node("text", { x: px, y: bottom + 16, "text-anchor": "middle" }, label));
      }
      const middle = inner.y + inner.height / 2;
      made.push(
        node("line", { class: "axis", x1: inner.x, x2: inner.x + inner.width, y1: bottom, y2: bottom }),
        node("text", { x: inner.x + inner.width / 2, y: this.height - 6, "text-anchor": "middle" }, x.label),
        node("text", { transform: `translate(13 ${middle}) rotate(-90)`, "text-anchor": "middle" }, y.label));
      return made;
    }

    drawn(series) {
      const kind = series.kind ?? "mean", points = this.points(series);
      const group = inked(node("g", { class: kind }), series.colour);
      if (kind === "dots" || kind === "diamonds") {
        for (const p of points.filter(Boolean)) group.append(mark(kind === "dots" ? "dot" : "diamond", p));
      } else {
        group.append(...this.bands(series), node("path", { class: series.dashed ? "curve dashed" : "curve", d: path(points) }));
        if (kind === "joined") for (const p of points.filter(Boolean)) group.append(...this.bar(series, p), mark("dot", p));
        const last = points.filter(Boolean).at(-1);
        if (series.end && last) group.append(mark(series.end, last));
      }
      series.group = group;
      return group;
    }

    bands(series) {
      const line = this.figure.lines[series.line], of = series.column, made = [];
      if ((series.kind ?? "mean") !== "mean") return made;
      const between = (low, high, name) => {
        const at = line.x.map((x, i) => [this.x.px(x), low[i], high[i]]).filter(([, l, h]) => l !== null && h !== null);
        const up = at.map(([x, , h]) => [x, this.y.px(h)]), down = at.map(([x, l]) => [x, this.y.px(l)]).reverse();
        if (at.length) made.push(node("path", { class: name, d: `${path([...up, ...down])}Z` }));
      };
      if (line.low?.[of]) between(line.low[of], line.high[of], "range");
      const half = line.half?.[of], y = line.y[of];
      if (half) between(half.map((h, i) => h === null ? null : y[i] - h), half.map((h, i) => h === null ? null : y[i] + h), "band");
      return made;
    }

    bar(series, [px, , i]) {
      const line = this.figure.lines[series.line], of = series.column, made = [];
      const half = line.half?.[of]?.[i], least = line.low?.[of]?.[i], y = line.y[of][i];
      if (least != null) {
        const top = this.y.px(line.high[of][i]);
        made.push(node("rect", { class: "range", x: px - 5, width: 10, y: top, height: this.y.px(least) - top }));
      }
      if (half != null) {
        const top = this.y.px(y + half), low = this.y.px(y - half);
        made.push(node("path", { class: "bar", d: `M${px} ${top}V${low}M${px - 4} ${top}h8M${px - 4} ${low}h8` }));
      }
      return made;
    }

    // ---- reading

    nearest(px, py) {
      let best = null, distance = REACH;
      for (const series of this.visible) {
        for (const p of this.points(series)) {
          if (!p || !this.inside(p)) continue;
          const d = Math.hypot(p[0] - px, p[1] - py);
          if (d < distance) [best, distance] = [{ series, index: p[2] }, d];
        }
      }
      return best;
    }

    inside([px, py]) {
      return px >= MARGIN.left - 1 && px <= this.width - this.right + 1
        && py >= MARGIN.top - 1 && py <= this.height - MARGIN.bottom + 1;
    }

    choose(chosen) {
      this.chosen = chosen;
      this.show();
    }

    show() {
      for (const series of this.panel.series ?? []) series.group?.classList.remove("chosen");
      this.overlay?.replaceChildren();
      const point = this.chosen && this.visible.includes(this.chosen.series)
        && this.points(this.chosen.series)[this.chosen.index];
      this.readout.hidden = !point;
      if (!point) return;
      this.chosen.series.group.classList.add("chosen");
      this.overlay.append(node("circle", { class: "ring", cx: point[0], cy: point[1], r: 6 }));
      this.readout.replaceChildren(...this.words(this.chosen));
      this.place(point);
    }

    words({ series, index }) {
      const line = this.figure.lines[series.line], words = [html("b", {}, line.names?.[index] ?? line.name)];
      words.push(html("span", {}, `${this.panel.x.label.replace(" (layers)", "")} ${line.x[index].toLocaleString("en-US")}`));
      for (const [column, values] of Object.entries(line.y)) {
        if (values[index] === null) continue;
        const [label, unit] = COLUMNS[column] ?? [column, ""], half = line.half?.[column]?.[index];
        const low = line.low?.[column]?.[index], high = line.high?.[column]?.[index];
        const band = half == null ? "" : ` ± ${exactly(half)}`;
        const range = low == null ? "" : ` (${exactly(low)} to ${exactly(high)})`;
        words.push(html("span", {}, `${label} ${exactly(values[index])}${band}${unit}${range}`));
      }
      if (line.n?.length) words.push(html("span", {}, `n = ${line.n[index]}`));
      if (line.note) words.push(html("span", { class: `state ${line.note}` }, line.note));
      return words;
    }

    /* Beside the point, within the panel. */
    place([px, py]) {
      const box = this.readout, top = this.svg.getBoundingClientRect().top - this.host.getBoundingClientRect().top;
      const left = px + 14 + box.offsetWidth <= this.width ? px + 14 : Math.max(0, px - 14 - box.offsetWidth);
      box.style.left = `${left}px`;
      box.style.top = `${top + Math.max(0, py - box.offsetHeight - 12)}px`;
    }

    // ---- zooming

    zoom(view) {
      const all = this.figure.chart.linked ? this.figure.plots : [this];
      for (const plot of all) {
        plot.view = view;
        plot.render();
      }
      this.figure.changed();
    }

    /* To the rectangle between two places; a thin one leaves one axis as it is. */
    zoomTo(from, to) {
      const span = (axis, i, range) => {
        if (Math.abs(to[i] - from[i]) < ONE_WAY) return range;
        return [axis.value(from[i]), axis.value(to[i])].sort((a, b) => a - b);
      };
      const view = { x: span(this.x, 0, this.view.x), y: span(this.y, 1, this.view.y) };
      if (view.x !== this.view.x || view.y !== this.view.y) this.zoom(view);
    }

    closer(factor) {
      const about = (axis, range, centre) => {
        const [a, b] = range.map((v) => axis.px(v));
        return [axis.value(centre + (a - centre) * factor), axis.value(centre + (b - centre) * factor)];
      };
      const at = this.chosen && this.points(this.chosen.series)[this.chosen.index];
      const [px, py] = at ?? [this.width / 2, this.height / 2];
      this.zoom({ x: about(this.x, this.view.x, px), y: about(this.y, this.view.y, py) });
    }

    /* The range of all that is visible here. */
    whole() {
      const xs = [], ys = [];
      for (const series of this.visible) {
        const line = this.figure.lines[series.line];
        line.y[series.column].forEach((y, i) => y !== null && (xs.push(line.x[i]), ys.push(y)));
      }
      if (!xs.length) return this.home;
      const widened = ([low, high], all, share) => {
        const [least, most] = [Math.min(...all), Math.max(...all)], room = share * (most - least);
        return [least < low ? least - room : low, most > high ? most + room : high];
      };
      return { x: widened(this.home.x, xs, 0), y: widened(this.home.y, ys, 0.04) };
    }

    // ---- hands

    listen() {
      const at = (event) => {
        const box = this.svg.getBoundingClientRect();
        return [event.clientX - box.left, event.clientY - box.top];
      };
      const move = (event) => {
        if (!this.drag || event.pointerId !== this.drag.id) return;
        const to = this.drag.touch ? [at(event)[0], this.drag.from[1]] : at(event);
        this.drag.moved ||= Math.hypot(to[0] - this.drag.from[0], to[1] - this.drag.from[1]) > DRAG;
        this.drag.to = to;
        if (this.drag.moved) this.brush();
      };
      const end = (event) => {
        removeEventListener("pointermove", move);
        removeEventListener("pointerup", end);
        removeEventListener("pointercancel", end);
        const drag = this.drag;
        this.drag = null;
        this.overlay?.replaceChildren();
        if (!drag || event.type === "pointercancel") return;
        if (drag.moved) this.zoomTo(drag.from, drag.to);
        else this.choose(this.nearest(...drag.from));
      };
      this.svg.addEventListener("pointerdown", (event) => {
        if (event.button || !this.x) return;
        this.drag = { id: event.pointerId, from: at(event), moved: false, touch: event.pointerType === "touch" };
        addEventListener("pointermove", move);
        addEventListener("pointerup", end);
        addEventListener("pointercancel", end);
      });
      this.svg.addEventListener("pointermove", (event) => {
        if (!this.drag && this.x && event.pointerType !== "touch") this.choose(this.nearest(...at(event)));
      });
      this.svg.addEventListener("pointerleave", (event) => {
        if (!this.drag && event.pointerType !== "touch") this.choose(null);
      });
      this.svg.addEventListener("blur", () => this.choose(null));
      this.svg.addEventListener("dblclick", () => this.figure.reset());
      this.svg.addEventListener("keydown", (event) => this.key(event));
    }

    brush() {
      const { from, to } = this.drag, bottom = this.height - MARGIN.bottom;
      let [x, width] = [Math.min(from[0], to[0]), Math.abs(to[0] - from[0])];
      let [y, height] = [Math.min(from[1], to[1]), Math.abs(to[1] - from[1])];
      if (height < ONE_WAY) [y, height] = [MARGIN.top, bottom - MARGIN.top];
      if (width < ONE_WAY) [x, width] = [MARGIN.left, this.width - MARGIN.left - this.right];
      this.readout.hidden = true;
      this.overlay.replaceChildren(node("rect", { class: "brush", x, y, width, height }));
    }

    key(event) {
      const along = { ArrowLeft: -1, ArrowRight: 1 }[event.key], across = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (along) this.step(along);
      else if (across) this.next(across);
      else if (event.key === "+" || event.key === "=") this.closer(1 / 1.5);
      else if (event.key === "-") this.closer(1.5);
      else if (event.key === "0" || event.key === "Escape") this.figure.reset();
      else return;
      event.preventDefault();
    }

    step(by) {
      if (!this.chosen) return this.next(1);
      const there = this.points(this.chosen.series).filter(Boolean).map((p) => p[2]);
      const place = there.indexOf(this.chosen.index) + by;
      if (place >= 0 && place < there.length) this.choose({ ...this.chosen, index: there[place] });
    }

    next(by) {
      const all = this.visible.filter((s) => this.points(s).some(Boolean));
      if (!all.length) return;
      const now = all.indexOf(this.chosen?.series), place = now < 0 ? all.length - 1 : (now + by + all.length) % all.length;
      const there = this.points(all[place]).filter(Boolean).map((p) => p[2]);
      const index = there.includes(this.chosen?.index) ? this.chosen.index : there.at(-1);
      this.choose({ series: all[place], index });
    }
  }

  function path(points) {
    let d = "", pen = "M";
    for (const p of points) {
      d += p ? `${pen}${p[0].toFixed(1)} ${p[1].toFixed(1)}` : "";
      pen = p ? "L" : "M";
    }
    return d;
  }

  function mark(name, [x, y]) {
    if (name === "dot") return node("circle", { class: "dot", cx: x, cy: y, r: 3.6 });
    const d = name === "cross" ? `M${x - 5} ${y - 5}l10 10m0 -10l-10 10` : `M${x} ${y - 5.5}l5.5 5.5l-5.5 5.5l-5.5 -5.5z`;
    return node("path", { class: name, d });
  }

  // ---- one figure

  class Figure {
    constructor(element, chart, lines, id) {
      Object.assign(this, { chart, lines, id, plots: [], hidden: new Set() });
      for (const panel of chart.panels ?? []) {
        const host = html("div", { class: "panel" });
        element.querySelector(".panels").append(host);
        this.plots.push(new Plot(this, panel, host));
      }
      const legend = element.querySelector(".legend");
      legend.append(...(chart.legend ?? []).map((entry) => this.toggle(entry)));
      this.buttons = [["whole range", () => this.each((p) => p.whole())], ["reset zoom", () => this.reset()]]
        .map(([label, act]) => {
          const button = html("button", { type: "button", class: "view" }, label);
          button.addEventListener("click", act);
          return button;
        });
      legend.append(...this.buttons);
      this.changed();
    }

    toggle(entry) {
      const button = html("button", { type: "button", "aria-pressed": "true" }, swatch(entry), entry.tag);
      button.addEventListener("click", () => {
        const shown = this.hidden.delete(entry.tag) || !this.hidden.add(entry.tag);
        button.setAttribute("aria-pressed", shown);
        for (const plot of this.plots) plot.render();
        this.changed();
      });
      return button;
    }

    each(view) {
      for (const plot of this.plots) {
        plot.view = view(plot);
        plot.render();
      }
      this.changed();
    }

    reset() {
      this.each((plot) => {
        plot.chosen = null;
        return plot.home;
      });
    }

    /* Offer the whole range where some of it is outside, and the reset where there is one. */
    changed() {
      const out = ([a, b], [c, d]) => a > c || b < d;
      const cut = this.plots.some((p) => {
        const { x, y } = p.whole();
        return out(p.view.x, x) || out(p.view.y, y);
      });
      this.buttons[0].hidden = !cut;
      this.buttons[1].hidden = this.plots.every((p) => p.view === p.home);
    }
  }

  function swatch(entry) {
    const kind = entry.mark ?? "line", svg = node("svg", { viewBox: "0 0 26 12", "aria-hidden": "true" });
    if (kind === "dot" || kind === "diamond") svg.append(mark(kind, [13, 6]));
    else svg.append(node("path", { class: `curve ${entry.dashed ? "dashed" : kind}`, d: "M1 6H25" }));
    return inked(svg, entry.colour);
  }

  let figures = 0;
  const draw = (element, chart, lines) => new Figure(element, chart, lines, figures++);
  return { draw, html };
})();
