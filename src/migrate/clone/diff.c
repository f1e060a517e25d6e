/* diff.c - what differs between two states of a clone, as text or JSON.
 *
 * The answer is written piece by piece, since it may be about millions of files.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/clone/diff.h"
#include "clone/private.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

enum
{
  ADDED,
  CHANGED,
  REMOVED,
  NOT_COMPARED,
  N_KINDS
};

typedef struct
{
  const H2kCloneDiffOptions *options;
  H2kTextFunc write;
  gpointer data;
  H2kMarks *marks; /* of the disk that is being compared; NULL: they are not needed */
  guint disk;      /* 0: the first */
  guint64 bytes;   /* that differ, on all disks */
  guint64 disk_bytes;
  guint64 files[N_KINDS];
  const char *volume;
  gboolean started;   /* an element of the JSON array was written */
  GPtrArray *volumes; /* JsonNode *, or char *: to be written behind the files */
  GPtrArray *notes;   /* char * */
  GCancellable *cancellable;
} Diff;

static void G_GNUC_PRINTF (2, 3) put (Diff *d, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  d->write (text, d->data);
}

/* --- JSON ------------------------------------------------------------------------------------- */

/* OBJECT, which becomes this function's, as the next element. */
static void
put_element (Diff *d, JsonObject *object)
{
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);
  g_autofree char *text = NULL;

  json_node_take_object (node, object);
  text = json_to_string (node, FALSE);
  put (d, "%s\n    %s", d->started ? "," : "", text);
  d->started = TRUE;
}

static void
begin_array (Diff *d, const char *name)
{
  put (d, ",\n  \"%s\": [", name);
  d->started = FALSE;
}

static void
end_array (Diff *d)
{
  put (d, "%s]", d->started ? "\n  " : "");
}

static const char *
type_name (guint32 mode)
{
  static const struct
  {
    guint32 type;
    const char *word;
  } types[] = {{S_IFREG, "file"},        {S_IFDIR, "directory"},    {S_IFLNK, "link"},
               {S_IFCHR, "char-device"}, {S_IFBLK, "block-device"}, {S_IFIFO, "fifo"},
               {S_IFSOCK, "socket"}};

  for (gsize i = 0; i < G_N_ELEMENTS (types); i++)
    if ((mode & S_IFMT) == types[i].type)
      return types[i].word;
  return "unknown";
}

/* NAME, and where it is not UTF-8 its bytes, too. */
static void
set_name (JsonObject *o, const char *member, const char *name)
{
  g_autofree char *valid = g_utf8_make_valid (name, -1);

  json_object_set_string_member (o, member, valid);
  if (strcmp (valid, name) != 0)
    {
      g_autofree char *key = g_strconcat (member, "-base64", NULL);
      g_autofree char *bytes = g_base64_encode ((const guchar *)name, strlen (name));
      json_object_set_string_member (o, key, bytes);
    }
}

static JsonObject *
stat_object (const H2kStat *st, const char *target)
{
  JsonObject *o = json_object_new ();
  g_autofree char *mode = g_strdup_printf ("%04o", st->mode & 07777);

  json_object_set_string_member (o, "type", type_name (st->mode));
  json_object_set_string_member (o, "mode", mode);
  json_object_set_int_member (o, "uid", st->uid);
  json_object_set_int_member (o, "gid", st->gid);
  json_object_set_int_member (o, "size", (gint64)st->size);
  json_object_set_int_member (o, "mtime", st->mtime);
  json_object_set_int_member (o, "ctime", st->ctime);
  json_object_set_int_member (o, "inode", (gint64)st->inode);
  if (target)
    set_name (o, "target", target);
  if (S_ISCHR (st->mode) || S_ISBLK (st->mode))
    {
      g_autofree char *device = g_strdup_printf ("%u:%u", major (st->rdev), minor (st->rdev));
      json_object_set_string_member (o, "device", device);
    }
  return o;
}

static void
put_file_json (Diff *d, const H2kFileDifference *f, const char *kind)
{
  static const char *const members[] = {"before", "after"};
  JsonObject *o = json_object_new ();
  JsonArray *aspects = json_array_new ();

  set_name (o, "path", f->path);
  json_object_set_string_member (o, "change", kind);
  json_object_set_string_member (o, "volume", d->volume);
  for (guint bit = 1; bit <= H2K_ASPECT_LINKS; bit <<= 1)
    if (f->aspects & bit)
      json_array_add_string_element (aspects, h2k_aspect_name (bit));
  if (f->aspects)
    json_object_set_array_member (o, "differs", aspects);
  else
    json_array_unref (aspects);
  for (guint i = 0; i < 2; i++)
    if (f->stats[i])
      json_object_set_object_member (o, members[i], stat_object (f->stats[i], f->targets[i]));
  if (f->problem)
    json_object_set_string_member (o, "problem", f->problem);
  put_element (d, o);
}

/* --- text ------------------------------------------------------------------------------------- */

/* "content, mode 0644 to 0600". */
static char *
describe (const H2kFileDifference *f)
{
  const H2kStat *a = f->stats[0], *b = f->stats[1];
  GString *text = g_string_new (NULL);

  for (guint bit = 1; bit <= H2K_ASPECT_LINKS; bit <<= 1)
    {
      if (!(f->aspects & bit))
        continue;
      g_string_append_printf (text, "%s%s", text->len ? ", " : "", h2k_aspect_name (bit));
      if (bit == H2K_ASPECT_TYPE)
        g_string_append_printf (text, " %s to %s", type_name (a->mode), type_name (b->mode));
      else if (bit == H2K_ASPECT_MODE)
        g_string_append_printf (text, " %04o to %04o", a->mode & 07777, b->mode & 07777);
      else if (bit == H2K_ASPECT_OWNER)
        g_string_append_printf (text, " %u:%u to %u:%u", a->uid, a->gid, b->uid, b->gid);
    }
  return g_string_free (text, FALSE);
}

static void
put_file_text (Diff *d, const H2kFileDifference *f, char letter)
{
  g_autofree char *path = h2k_escape_line (f->path);
  g_autofree char *what = f->problem ? h2k_escape_line (f->problem) : describe (f);

  put (d, *what ? "%c %s (%s)\n" : "%c %s\n", letter, path, what);
}

/* --- what h2k_guests_compare() tells ---------------------------------------------------------- */

static const struct
{
  char letter;
  const char *word;
} kinds[N_KINDS] = {
    [ADDED] = {'A', "added"},
    [CHANGED] = {'M', "changed"},
    [REMOVED] = {'D', "removed"},
    [NOT_COMPARED] = {'!', "not compared"},
};

static gboolean
take_file (const H2kFileDifference *f, gpointer data)
{
  Diff *d = data;
  guint kind = f->problem ? NOT_COMPARED : !f->stats[0] ? ADDED : !f->stats[1] ? REMOVED : CHANGED;

  d->files[kind]++;
  if (d->options->json)
    put_file_json (d, f, kinds[kind].word);
  else
    put_file_text (d, f, kinds[kind].letter);
  return !g_cancellable_is_cancelled (d->cancellable);
}

static void
set_volume (const char *volume, gpointer data)
{
  ((Diff *)data)->volume = volume;
}

static gboolean
take_volume (const H2kVolumeDifference *v, gpointer data)
{
  Diff *d = data;
  JsonObject *o = json_object_new ();

  json_object_set_string_member (o, "volume", v->name);
  json_object_set_string_member (o, "type", v->type);
  json_object_set_int_member (o, "bytes", (gint64)v->bytes);
  if (v->why)
    json_object_set_string_member (o, "problem", v->why);
  if (v->is_below)
    json_object_set_boolean_member (o, "below", TRUE);
  g_ptr_array_add (d->volumes, o);
  return !g_cancellable_is_cancelled (d->cancellable);
}

static void
take_note (const char *text, gpointer data)
{
  g_ptr_array_add (((Diff *)data)->notes, g_strdup (text));
}

static void
put_volume_text (Diff *d, JsonObject *o)
{
  const char *type = h2k_json_string (o, "type"), *why = h2k_json_string (o, "problem");
  g_autofree char *name = h2k_escape_line (h2k_json_string (o, "volume"));
  g_autofree char *size = h2k_format_size ((guint64)h2k_json_int (o, "bytes", 0));
  g_autofree char *kind = *type ? g_strdup_printf (" (%s)", type) : g_strdup ("");
  g_autofree char *safe = why ? h2k_escape_line (why) : NULL;

  put (d, "! %s%s: %s of blocks differ%s%s%s\n", name, kind, size,
       h2k_json_flag (o, "below") ? " below it" : "", safe ? "; no files were compared: " : "",
       safe ? safe : "");
}

static void
put_volumes (Diff *d)
{
  if (d->options->json)
    begin_array (d, "volumes");
  for (guint i = 0; i < d->volumes->len; i++)
    if (d->options->json)
      put_element (d, json_object_ref (d->volumes->pdata[i]));
    else
      put_volume_text (d, d->volumes->pdata[i]);
  if (d->options->json)
    end_array (d);
}

/* --- blocks ----------------------------------------------------------------------------------- */

static gboolean
take_blocks (guint64 offset, guint64 length, gpointer data)
{
  Diff *d = data;
  JsonObject *o;

  d->bytes += length;
  d->disk_bytes += length;
  if (d->marks)
    h2k_marks_add (d->marks, offset, length);
  else if (!d->options->json)
    put (d, "%#-16" G_GINT64_MODIFIER "x%#-16" G_GINT64_MODIFIER "x%u\n", offset, length,
         d->disk + 1);
  else
    {
      o = json_object_new ();
      json_object_set_int_member (o, "disk", d->disk + 1);
      json_object_set_int_member (o, "start", (gint64)offset);
      json_object_set_int_member (o, "length", (gint64)length);
      put_element (d, o);
    }
  return !g_cancellable_is_cancelled (d->cancellable);
}

typedef struct
{
  GPtrArray *before, *after; /* H2kDisk * */
  GPtrArray *marks;          /* H2kMarks * */
  JsonArray *sizes;          /* what JSON says of the disks */
} States;

static void
states_clear (States *s)
{
  g_clear_pointer (&s->before, g_ptr_array_unref);
  g_clear_pointer (&s->after, g_ptr_array_unref);
  g_clear_pointer (&s->marks, g_ptr_array_unref);
  g_clear_pointer (&s->sizes, json_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (States, states_clear)

static void
states_init (States *s)
{
  s->before = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);
  s->after = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);
  s->marks = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_marks_free);
  s->sizes = json_array_new ();
}

static void
note_disk (Diff *d, States *s, const H2kCloneState *a, const H2kCloneState *b)
{
  JsonObject *o = json_object_new ();

  json_object_set_int_member (o, "disk", d->disk + 1);
  json_object_set_int_member (o, "size-before", (gint64)a->disk->size);
  json_object_set_int_member (o, "size", (gint64)b->disk->size);
  json_object_set_int_member (o, "bytes", (gint64)d->disk_bytes);
  json_array_add_object_element (s->sizes, o);
  if (a->disk->size != b->disk->size)
    g_ptr_array_add (d->notes, g_strdup_printf ("disk %u had %" G_GUINT64_FORMAT
                                                " bytes, and has %" G_GUINT64_FORMAT " now",
                                                d->disk + 1, a->disk->size, b->disk->size));
}

static gboolean
compare_blocks (Diff *d, const H2kClone *clone, guint from, guint to, States *s,
                H2kProgressFunc progress, gpointer progress_data, GError **error)
{
  for (d->disk = 0; d->disk < clone->n_disks; d->disk++)
    {
      g_auto (H2kCloneState) a = {0}, b = {0};

      d->disk_bytes = 0;
      d->marks = d->options->blocks ? NULL : h2k_marks_new ();
      if (d->marks)
        g_ptr_array_add (s->marks, d->marks);
      if (!h2k_clone_open_states (clone, from, to, d->disk, &a, &b, error)
          || !h2k_clone_compare_states (&a, &b, take_blocks, d, progress, progress_data,
                                        d->cancellable, error)
          || h2k_is_cancelled (d->cancellable, error))
        return FALSE;
      note_disk (d, s, &a, &b);
      g_ptr_array_add (s->before, g_steal_pointer (&a.disk));
      g_ptr_array_add (s->after, g_steal_pointer (&b.disk));
    }
  return TRUE;
}

/* --- files ------------------------------------------------------------------------------------ */

static gboolean
compare_guests (Diff *d, const States *s, GError **error)
{
  const H2kGuestDifferences funcs = {.file = take_file,
                                     .set_volume = set_volume,
                                     .volume = take_volume,
                                     .note = take_note,
                                     .data = d};
  g_autoptr (H2kKeys) keys = h2k_keys_parse (d->options->keys, error);
  const H2kGuestOptions options = {.keys = keys,
                                   .backend = d->options->backend,
                                   .kvm_works = h2k_kvm_works,
                                   .any_system = TRUE};

  /* With the same blocks there are the same files. */
  return keys
         && (!d->bytes
             || h2k_guests_compare (s->before, s->after, s->marks, &options, &funcs, d->cancellable,
                                    error))
         && !h2k_is_cancelled (d->cancellable, error);
}

/* --- all -------------------------------------------------------------------------------------- */

static void
begin (Diff *d, const H2kClone *clone)
{
  const H2kCloneDiffOptions *o = d->options;
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);
  JsonObject *root = json_object_new ();
  g_autofree char *text = NULL;

  if (!o->json)
    {
      if (o->blocks)
        put (d, "%-16s%-16s%s\n", "Offset", "Length", "Disk");
      return;
    }
  json_node_take_object (node, root);
  json_object_set_string_member (root, "name", clone->name);
  json_object_set_string_member (root, "from",
                                 o->original ? "original"
                                 : o->from   ? "snapshot"
                                             : "base");
  if (o->from)
    json_object_set_string_member (root, "from-snapshot", o->from);
  json_object_set_string_member (root, "to", o->to ? "snapshot" : "current");
  if (o->to)
    json_object_set_string_member (root, "to-snapshot", o->to);
  text = json_to_string (node, FALSE);
  put (d, "{\n  %.*s", (int)strlen (text) - 2, text + 1);
  begin_array (d, o->blocks ? "extents" : "files");
}

static void
end_json (Diff *d, States *s)
{
  JsonObject *o = json_object_new ();
  g_autoptr (JsonNode) node = json_node_init_object (json_node_alloc (), o);
  g_autofree char *text = NULL;

  begin_array (d, "disks");
  for (guint i = 0; i < json_array_get_length (s->sizes); i++)
    put_element (d, json_object_ref (json_array_get_object_element (s->sizes, i)));
  end_array (d);
  begin_array (d, "notes");
  for (guint i = 0; i < d->notes->len; i++)
    {
      JsonObject *note = json_object_new ();
      g_autofree char *safe = g_utf8_make_valid (d->notes->pdata[i], -1);
      json_object_set_string_member (note, "note", safe);
      put_element (d, note);
    }
  end_array (d);
  if (!d->options->blocks)
    {
      json_object_set_int_member (o, "added", (gint64)d->files[ADDED]);
      json_object_set_int_member (o, "changed", (gint64)d->files[CHANGED]);
      json_object_set_int_member (o, "removed", (gint64)d->files[REMOVED]);
      json_object_set_int_member (o, "not-compared", (gint64)d->files[NOT_COMPARED]);
    }
  json_object_set_int_member (o, "bytes", (gint64)d->bytes);
  text = json_to_string (node, FALSE);
  put (d, ",\n  \"summary\": %s\n}\n", text);
  json_object_unref (o);
}

static void
end_text (Diff *d)
{
  g_autofree char *size = h2k_format_size (d->bytes);

  for (guint i = 0; i < d->notes->len; i++)
    {
      g_autofree char *safe = h2k_escape_line (d->notes->pdata[i]);
      put (d, "note: %s\n", safe);
    }
  if (!d->options->blocks)
    put (d,
         "%" G_GUINT64_FORMAT " added, %" G_GUINT64_FORMAT " changed, %" G_GUINT64_FORMAT
         " removed; ",
         d->files[ADDED], d->files[CHANGED], d->files[REMOVED]);
  if (d->files[NOT_COMPARED])
    put (d, "%" G_GUINT64_FORMAT " not compared; ", d->files[NOT_COMPARED]);
  put (d, "%s of blocks differ\n", size);
}

/* The number of the layer that SNAPSHOT is. */
static gboolean
find_snapshot (const H2kClone *clone, const char *snapshot, guint *number, GError **error)
{
  const H2kLayer *layer;

  if (!h2k_clone_check_name ("a snapshot", snapshot, error))
    return FALSE;
  layer = h2k_clone_snapshot (clone, snapshot);
  if (layer)
    *number = layer->number;
  else
    g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                 "the clone %s has no snapshot %s: see `hyper2kvm clone show %s`", clone->name,
                 snapshot, clone->name);
  return layer != NULL;
}

static gboolean
diff (Diff *d, H2kClone *clone, H2kProgressFunc progress, gpointer progress_data, GError **error)
{
  const H2kCloneDiffOptions *o = d->options;
  guint from = o->original ? 0 : clone->base, to = clone->current;
  g_auto (States) s = {0};

  states_init (&s);
  if ((o->from && !find_snapshot (clone, o->from, &from, error))
      || (o->to && !find_snapshot (clone, o->to, &to, error)))
    return FALSE;
  begin (d, clone);
  if (!compare_blocks (d, clone, from, to, &s, progress, progress_data, error)
      || (!o->blocks && !compare_guests (d, &s, error)))
    return FALSE;
  if (o->json)
    end_array (d);
  if (!o->blocks)
    put_volumes (d);
  if (o->json)
    end_json (d, &s);
  else
    end_text (d);
  return TRUE;
}

/* What a VM is writing to is not one state. Snapshots do not change any more. */
static ImageLocks *
hold_present (const H2kClone *clone, GError **error)
{
  ImageLocks *locks = h2k_clone_lock_images (clone, error);

  if (!locks)
    g_prefix_error (error, "the present state cannot be compared while it is being written to, but "
                           "snapshots can: ");
  return locks;
}

gboolean
h2k_clones_diff (const H2kCloneDiffOptions *options, H2kTextFunc write, gpointer data,
                 H2kProgressFunc progress, gpointer progress_data, GCancellable *cancellable,
                 gboolean *differ, GError **error)
{
  g_auto (H2kOpenedClone) o = {0};
  g_autoptr (ImageLocks) locks = NULL;
  Diff d = {.options = options, .write = write, .data = data, .cancellable = cancellable};
  gboolean ok;

  if (options->original && options->from)
    {
      g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE,
                           "the first state is the original or a snapshot, not both");
      return FALSE;
    }
  if (!h2k_clones_open (options->state_dir, options->name,
                        options->to ? H2K_CLONE_LOOK : H2K_CLONE_CHANGE, &o, error)
      || (!options->to && !(locks = hold_present (o.clone, error))))
    return FALSE;
  d.volumes = g_ptr_array_new_with_free_func ((GDestroyNotify)json_object_unref);
  d.notes = g_ptr_array_new_with_free_func (g_free);
  if (cancellable)
    g_cancellable_push_current (cancellable);
  ok = diff (&d, o.clone, progress, progress_data, error);
  if (cancellable)
    g_cancellable_pop_current (cancellable);
  if (differ)
    *differ = d.bytes > 0;
  g_ptr_array_unref (d.volumes);
  g_ptr_array_unref (d.notes);
  return ok;
}
