"use strict";
/* Bring the page to life. #dark and #light choose the theme, #run=NAME unfolds a run. */
{
  const root = document.documentElement;
  const data = JSON.parse(document.querySelector("#data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const wanted = () => new Map(location.hash.slice(1).split("&").map((part) => part.split("=")));
  const theme = (name) => {
    root.classList.remove("light", "dark");
    root.classList.add(name);
  };

  document.querySelector("#theme").addEventListener("click", () => {
    const now = root.classList.contains("dark") || (!root.classList.contains("light") && dark.matches);
    theme(now ? "light" : "dark");
  });

  const sections = document.querySelectorAll("section.study");
  data.studies.forEach(({ charts, lines }, i) => {
    for (const element of sections[i].querySelectorAll("figure.chart")) {
      Charts.draw(element, charts[element.dataset.chart], lines);
    }
  });
  const runs = new Runs.List(data.runs, data.folder);

  const follow = () => {
    for (const [key, value] of wanted()) {
      if (key === "dark" || key === "light") theme(key);
      if (key === "run") runs.unfold(decodeURIComponent(value ?? ""));
    }
  };
  addEventListener("hashchange", follow);
  follow();
}
