"use strict";
/* The list of runs: filtered, sorted, a page at a time; a row unfolds all that its folder says. */
const Runs = (() => {
  const PAGE = 50;
  const ORDER = ["failed", "diverged", "running", "partial", "missing", "done"];
  const html = Charts.html;
  const COLUMNS = [ // key, title, class
    ["run", "run", ""], ["state", "state", ""], ["arm", "arm", "wide"], ["depth", "depth", "n wide"],
    ["seed", "seed", "n wide"], ["iteration", "iteration", "n wide"], ["train_error", "train %", "n"],
    ["test_error", "test %", "n"], ["device", "device", "wide"], ["commit", "commit", "wide"],
    ["started", "started", "when wide"], ["exact", "exact", "wide"],
  ];

  const decoded = (column) => (column.of ? column.at.map((i) => column.of[i]) : column);

  class List {
    constructor(data, folder) {
      Object.assign(this, { common: data.common, folder });
      const columns = Object.fromEntries(Object.entries(data.columns).map(([k, v]) => [k, decoded(v)]));
      this.runs = Array.from({ length: data.count }, (_, i) =>
        Object.fromEntries(Object.entries(columns).map(([key, values]) => [key, values[i]])));
      for (const run of this.runs) {
        run.started = run.processes[0]?.[0] ?? null;
        run.text = [run.run, run.state, run.arm, run.shortcut, `depth=${run.depth}`, `seed=${run.seed}`, run.device,
          run.commit, run.exact ? "" : "inexact", run.failure?.message, ...Object.entries(run.own).map((e) => e.join("="))]
          .join(" ").toLowerCase();
      }
      Object.assign(this, { words: [], off: new Set(), key: null, down: false, shown: PAGE, open: new Set() });
      this.head = document.querySelector(".runs thead");
      this.body = document.querySelector(".runs tbody");
      this.more = document.querySelector("#more");
      this.filter = document.querySelector("#filter");
      this.filter.addEventListener("input", () => this.search(this.filter.value));
      this.more.addEventListener("click", () => { this.shown += 4 * PAGE; this.render(); });
      this.chips();
      this.render();
    }

    search(text) {
      this.filter.value = text;
      this.words = text.toLowerCase().split(/\s+/).filter(Boolean);
      this.shown = PAGE;
      this.render();
    }

    unfold(name) {
      this.open.add(name);
      this.search(name);
      document.querySelector("#runs").scrollIntoView();
    }

    chips() {
      const counts = new Map();
      for (const run of this.runs) counts.set(run.state, (counts.get(run.state) ?? 0) + 1);
      const states = ORDER.filter((state) => counts.has(state));
      document.querySelector("#chips").append(...states.map((state) => {
        const chip = html("button", { type: "button", class: `state ${state}`, "aria-pressed": "true" }, `${counts.get(state)} ${state}`);
        chip.addEventListener("click", () => {
          const on = this.off.delete(state) || !this.off.add(state);
          chip.setAttribute("aria-pressed", on);
          this.shown = PAGE;
          this.render();
        });
        return chip;
      }));
    }

    /* Without a chosen order: what needs a look first, then by name. */
    get chosen() {
      const found = this.runs.filter((r) => !this.off.has(r.state) && this.words.every((w) => r.text.includes(w)));
      const { key, down } = this;
      if (!key) return found.sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state));
      const sign = down ? -1 : 1, numeric = (v) => typeof v === "number";
      return found.sort((a, b) => {
        const [x, y] = [a[key], b[key]];
        if (x === y) return 0;
        if (x === null || y === null) return x === null ? 1 : -1; // unknown comes last either way
        return sign * (numeric(x) && numeric(y) ? x - y : String(x).localeCompare(String(y), "en", { numeric: true }));
      });
    }

    render() {
      const found = this.chosen, listed = found.slice(0, this.shown);
      this.head.replaceChildren(html("tr", {}, ...COLUMNS.map((column) => this.title(column))));
      this.body.replaceChildren(...listed.flatMap((run) => this.rows(run)));
      this.more.hidden = found.length <= listed.length;
      const all = this.runs.length;
      document.querySelector("#counted").textContent =
        `${found.length === all ? "" : `${found.length} of `}${all} runs${this.more.hidden ? "" : `, the first ${listed.length} listed`}`;
    }

    title([key, label, name]) {
      const sorted = this.key === key;
      const button = html("button", { type: "button" }, label + (sorted ? (this.down ? " ↓" : " ↑") : ""));
      button.addEventListener("click", () => {
        [this.key, this.down] = sorted && this.down ? [null, false] : [key, sorted];
        this.render();
        this.head.querySelectorAll("button")[COLUMNS.findIndex((c) => c[0] === key)].focus();
      });
      return html("th", { scope: "col", class: name, "aria-sort": sorted ? (this.down ? "descending" : "ascending") : "none" }, button);
    }

    rows(run) {
      const open = this.open.has(run.run);
      const row = html("tr", {}, ...COLUMNS.map(([key, , name]) => this.cell(run, key, name, open)));
      return open ? [row, html("tr", { class: "detail" }, html("td", { colspan: COLUMNS.length }, ...detail(run, this.common, this.folder)))] : [row];
    }

    cell(run, key, name, open) {
      if (key === "run") {
        const button = html("button", { type: "button", "aria-expanded": open }, run.run);
        button.addEventListener("click", () => {
          if (!this.open.delete(run.run)) this.open.add(run.run);
          this.render();
          [...this.body.querySelectorAll("th button")].find((b) => b.textContent === run.run)?.focus();
        });
        return html("th", { scope: "row" }, button, ...why(run));
      }
      const cell = html("td", { class: name }, written(run, key));
      if (key === "state") cell.className = `state ${run.state}`;
      return cell;
    }
  }

  function why(run) {
    const reason = run.state === "failed" ? run.failure?.message?.split("\n")[0]
      : run.state === "diverged" ? `at iteration ${run.outcome?.iteration}` : null;
    return reason ? [html("span", { class: "why" }, reason)] : [];
  }

  function written(run, key) {
    const value = run[key];
    if (key === "exact") return value ? "yes" : "no";
    if (key === "iteration") return `${value ?? 0}/${run.iterations}`;
    if (value === null || value === undefined) return "–";
    if (key === "started") return value.replace("T", " ").replace("Z", "");
    return key.endsWith("_error") ? value.toFixed(2) : String(value);
  }

  // ---- a row unfolded

  function detail(run, common, folder) {
    const full = { ...common[run.protocol], ...run.own };
    const parts = [html("p", { class: "mono" }, `${folder}/${run.run}, ${run.iteration ?? 0} of ${run.iterations} iterations`)];
    const add = (title, ...content) => parts.push(html("h4", {}, title), ...content);
    if (run.failure) add(`Failure: ${run.failure.kind ?? ""} ${run.failure.at ?? ""}`, html("pre", {}, run.failure.message ?? ""));
    if (run.inexact.length) add("Resumed under other numerics, so not exact", html("pre", {}, run.inexact.join("\n")));
    if (run.log === null) add("The end of its log", html("p", {}, "not in this page, which has so many runs: worker.log in the run's folder"));
    else if (run.log.length) add(`The end of its log, ${run.log.length} lines`, html("pre", { tabindex: 0 }, run.log.join("\n")));
    add("What it has beside its protocol", listed(run.own));
    parts.push(html("details", {}, html("summary", {}, "its whole config"), listed(full)));
    add("Processes", ...run.processes.map(([at, host, iteration, commit]) =>
      html("p", { class: "mono" }, `${at} on ${host}, from iteration ${iteration}, code at ${commit}`)));
    if (run.outcome) add("Result", listed(run.outcome));
    add("Fingerprint", listed(run.rests_on), listed({ parameters: run.parameters }));
    add("Digests: equal ones started alike, and saw the same images in the same order", listed(run.digests));
    return parts;
  }

  const listed = (values) => html("dl", { class: "mono" }, ...Object.entries(values).flatMap(([key, value]) =>
    [html("dt", {}, key), html("dd", {}, value === null ? "–" : String(value))]));

  return { List };
})();
