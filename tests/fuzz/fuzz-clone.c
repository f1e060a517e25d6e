/* fuzz-clone.c - the input is what a clone's folder says of itself: its clone.json, a
 * snapshot.json, and where its links lead, one after the other with lines "--" between them. The
 * clone is listed, shown and drawn, and its machine defined. Its images are real ones.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/clone.h"
#include "domain/domain.h"
#include "hyper2kvm.h"
#include "image.h"
#include "util/json.h"

#include <unistd.h>

#define SIZE (1u << 20)
#define N_PARTS 4

static H2kCloneStore *store;
static char *folder;

/* A clone with a snapshot: layers 1 to 3. */
static void
prepare (void)
{
  g_autofree char *original = image_path ("original.raw"), *dir = image_path ("store");
  g_autofree char *content = g_malloc0 (SIZE);
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kCloneDraft) draft = NULL;
  g_autoptr (H2kDisk) disk = NULL, overlay = NULL;
  g_autoptr (H2kClone) clone = NULL;

  g_file_set_contents (original, content, SIZE, NULL);
  store = h2k_clone_store_open (dir, &error);
  draft = store ? h2k_clone_draft_new (store, "vm", &error) : NULL;
  disk = h2k_disk_open (original, "raw", NULL);
  overlay = disk ? h2k_overlay_new (disk, NULL, SIZE) : NULL;
  if (!draft || !h2k_clone_draft_add_disk (draft, overlay, original, "raw", NULL, &error)
      || !h2k_clone_draft_commit (draft, &error))
    g_error ("cannot make the clone: %s", error->message);
  g_clear_pointer (&draft, h2k_clone_draft_free);
  if (!(clone = h2k_clone_open (store, "vm", H2K_CLONE_CHANGE, &error))
      || !h2k_clone_take_snapshot (clone, "s", NULL, &error))
    g_error ("cannot take a snapshot of it: %s", error->message);
  folder = g_strdup (clone->dir);
}

static void
set_file (const char *name, const char *text, gsize length)
{
  g_autofree char *path = g_build_filename (folder, name, NULL);

  if (!g_file_set_contents_full (path, text, (gssize)length, G_FILE_SET_CONTENTS_NONE, 0600, NULL))
    g_error ("cannot write %s", path);
}

static void
set_link (const char *name, const char *text, gsize length)
{
  g_autofree char *path = g_build_filename (folder, name, NULL);
  g_autofree char *target = g_strndup (text, length);

  unlink (path);
  /* Leave out what leads to other files of this machine. */
  if (g_str_has_prefix (target, "layers/") && !strstr (target, ".."))
    if (symlink (target, path) != 0)
      return;
}

static void
look (void)
{
  g_autoptr (H2kClone) clone = h2k_clone_open (store, "vm", H2K_CLONE_LOOK, NULL);
  JsonObject *machine = clone ? h2k_json_object (clone->root, "machine") : NULL;

  for (int json = 0; json < 2; json++)
    {
      g_free (h2k_clones_list (store->dir, json, NULL));
      g_free (h2k_clones_show (store->dir, "vm", json, NULL));
      g_free (h2k_clones_tree (store->dir, "vm", json, NULL));
    }
  if (machine)
    {
      g_autoptr (H2kDomain) domain = h2k_domain_from_json (machine);
      g_free (h2k_domain_to_xml (domain));
    }
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  const char *at = (const char *)data, *end = at + size, *parts[N_PARTS] = {at, end, end, end};
  gsize lengths[N_PARTS] = {0};

  if (!store)
    {
      g_log_set_writer_func (image_say_little, NULL, NULL);
      prepare ();
    }
  for (guint i = 0; i < N_PARTS; i++)
    {
      const char *next = memmem (at, (gsize)(end - at), "\n--\n", 4);
      parts[i] = at;
      lengths[i] = (gsize)((next ? next : end) - at);
      at = next ? next + 4 : end;
    }
  set_file ("clone.json", parts[0], lengths[0]);
  set_file ("layers/2/snapshot.json", parts[1], lengths[1]);
  set_link ("current", parts[2], lengths[2]);
  set_link ("base", parts[3], lengths[3]);
  look ();
  return 0;
}
