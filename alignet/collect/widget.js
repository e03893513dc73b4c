// The experiment in a notebook: shows the open trial, measures from the moment its pictures are on the screen.
function render({ model, el }) {
  el.classList.add("alignet-experiment");
  el.tabIndex = 0;
  let shownAt = null;
  const seconds = () => (performance.now() - shownAt) / 1000;

  function answer(chosen) {
    if (shownAt === null) return;
    const rt = seconds();
    shownAt = null;
    model.set("answer", { trial: model.get("trial").trial, chosen, rt });
    model.save_changes();
  }

  function undo() {
    shownAt = null;
    model.set("undone", model.get("undone") + 1);
    model.save_changes();
  }

  function button(label, action, name) {
    const made = document.createElement("button");
    made.textContent = label;
    made.className = name;
    made.addEventListener("click", action);
    return made;
  }

  async function draw() {
    const trial = model.get("trial");
    const ratings = trial.kind === "ratings";
    el.replaceChildren();
    const head = document.createElement("div");
    head.className = "head";
    const bar = document.createElement("progress");
    bar.max = trial.total;
    bar.value = trial.done;
    head.append(bar, ` ${trial.done} of ${trial.total}${trial.practice ? ", practice" : ""} `);
    if (trial.done > 0) head.append(button("undo (u)", undo, "undo"));
    el.append(head);
    if (!trial.images) {
      const end = document.createElement("p");
      end.className = "end";
      end.textContent = "Done. Thank you. The answers are saved.";
      el.append(end);
      return;
    }
    const question = document.createElement("p");
    question.textContent = ratings
      ? "How alike are these two? 1: not at all, 5: very much"
      : "Which one is the odd one out? Click it, or press 1, 2 or 3.";
    const row = document.createElement("div");
    row.className = "pictures";
    const pictures = trial.images.map((source, place) => {
      const picture = document.createElement("img");
      picture.src = source;
      picture.alt = `picture ${place + 1}`;
      if (!ratings) picture.addEventListener("click", () => answer(place));
      row.append(picture);
      return picture;
    });
    row.style.visibility = "hidden";
    el.append(question, row);
    if (ratings) {
      const scale = document.createElement("div");
      for (let value = 1; value <= 5; value++) scale.append(button(String(value), () => answer(value), "rating"));
      el.append(scale);
    }
    await Promise.allSettled(pictures.map((picture) => picture.decode()));
    if (model.get("trial").trial !== trial.trial) return;
    row.style.visibility = "visible";
    requestAnimationFrame(() => { shownAt = performance.now(); });
    el.focus({ preventScroll: true });
  }

  function key(event) {
    const most = model.get("trial").kind === "ratings" ? 5 : 3;
    const number = Number(event.key);
    if (event.key === "u") undo();
    else if (number >= 1 && number <= most) answer(most === 3 ? number - 1 : number);
    else return;
    event.preventDefault();
    event.stopPropagation();  // JupyterLab has keys of its own
  }

  el.addEventListener("keydown", key);
  model.on("change:trial", draw);
  draw();
  return () => el.removeEventListener("keydown", key);
}
export default { render };
