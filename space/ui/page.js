// Every file goes to the server, which alone says what is wrong with it; Gradio would drop some without a word.
const asImage = (file) => new File([file], file.name, { type: file.type.startsWith("image/") ? file.type : "image/png" });

const carry = (file) => {
  const carried = new DataTransfer();
  carried.items.add(asImage(file));
  return carried;
};

const take = (event, file, forward) => {
  if (!file || (file.type.startsWith("image/") && file.size <= MAX_BYTES)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  if (file.size > MAX_BYTES) document.dispatchEvent(new Event("refused"));
  else forward(carry(file));
};

document.addEventListener("change", (event) => {
  if (!event.target.matches("#photo input[type=file]")) return;
  take(event, event.target.files[0], (carried) => {
    event.target.files = carried.files;
    event.target.dispatchEvent(new Event("change", { bubbles: true }));
  });
}, true);

const drop = (zone, carried) =>
  zone.dispatchEvent(new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true }));

document.addEventListener("drop", (event) => {
  const zone = event.target.closest("#photo .upload-container");
  if (zone) take(event, event.dataTransfer.files[0], (carried) => drop(zone, carried));
}, true);

// A picture pasted anywhere on the page goes where a dropped one would.
document.addEventListener("paste", (event) => {
  const file = event.clipboardData?.files[0];
  const zone = document.querySelector("#photo .upload-container");
  if (!file || !zone) return;
  event.preventDefault();
  drop(zone, carry(file));
});
