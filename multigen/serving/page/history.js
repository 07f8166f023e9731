// The history: results with their media in IndexedDB, so that they survive a reload.
const NAME = "multigen";
const KEPT = 300; // results; the oldest go first

let opened;
function database() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      const store = request.result.createObjectStore("results", { keyPath: "id" });
      store.createIndex("created", "created");
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

async function within(mode, work) {
  const db = await database();
  return new Promise((resolve, reject) => {
    const transaction = db.transaction("results", mode);
    const request = work(transaction.objectStore("results"));
    transaction.oncomplete = () => resolve(request?.result);
    transaction.onerror = () => reject(transaction.error);
    transaction.onabort = () => reject(transaction.error);
  });
}

// All results, newest first. A browser that keeps nothing (a private window) has none.
export async function load() {
  try {
    const rows = await within("readonly", (store) => store.index("created").getAll());
    rows.reverse();
    for (const old of rows.slice(KEPT)) await remove(old.id);
    return rows.slice(0, KEPT);
  } catch {
    return [];
  }
}

export async function save(result) {
  const { preview, url, held, ...kept } = result;
  try {
    await within("readwrite", (store) => store.put(kept));
    return true;
  } catch {
    return false;
  }
}

export async function remove(id) {
  try {
    await within("readwrite", (store) => store.delete(id));
  } catch {
    // there is nothing to remove where nothing is kept
  }
}
