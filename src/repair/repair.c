/* repair.c - the table of repairs, and the functions through which they change the guest, which
 * record every change for the report.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/repairs.h"
#include "repair/windows/session.h"

#include <sys/stat.h>

#define MAX_FILE (64 * 1024 * 1024) /* that a repair edits */
#define MAX_KEPT (1024 * 1024)      /* that is kept for the report's diff */

/* clang-format off: one a line */
static const H2kRepair *const linux_repairs[] = {
    &h2k_repair_fstab,   &h2k_repair_bootloader, &h2k_repair_initramfs, &h2k_repair_udev,
    &h2k_repair_network, &h2k_repair_tools,      &h2k_repair_identity,  NULL,
};

static const H2kRepair *const windows_repairs[] = {
    &h2k_repair_windows_storage,    &h2k_repair_windows_controllers, &h2k_repair_windows_boot,
    &h2k_repair_windows_leftovers,  &h2k_repair_windows_drivers,     &h2k_repair_windows_network,
    &h2k_repair_windows_first_boot, &h2k_repair_windows_identity,    NULL,
};
/* clang-format on */

const H2kRepair *const *
h2k_repairs_for (const H2kGuest *guest)
{
  return guest->windows ? windows_repairs : linux_repairs;
}

static void
change_free (gpointer data)
{
  H2kChange *change = data;

  g_free (change->path);
  g_clear_pointer (&change->before, g_bytes_unref);
  g_clear_pointer (&change->after, g_bytes_unref);
  g_free (change->summary);
  g_free (change->reason);
  g_free (change);
}

static void
nic_free (gpointer data)
{
  H2kNic *nic = data;

  g_free (nic->name);
  g_free (nic->mac);
  g_free (nic);
}

H2kRepairContext *
h2k_repair_context_new (H2kGuest *guest, const H2kRepairOptions *options)
{
  H2kRepairContext *context = g_new0 (H2kRepairContext, 1);

  context->guest = guest;
  if (options)
    context->options = *options;
  if (guest->windows)
    context->windows = h2k_windows_session_new (context);
  context->macs = g_ptr_array_new_with_free_func (g_free);
  context->changes = g_ptr_array_new_with_free_func (change_free);
  context->warnings = g_ptr_array_new_with_free_func (g_free);
  context->nics = g_ptr_array_new_with_free_func (nic_free);
  return context;
}

void
h2k_repair_context_free (H2kRepairContext *context)
{
  if (!context)
    return;
  h2k_windows_session_free (context->windows);
  g_ptr_array_unref (context->macs);
  g_ptr_array_unref (context->changes);
  g_ptr_array_unref (context->warnings);
  g_ptr_array_unref (context->nics);
  g_free (context);
}

gboolean
h2k_repair_run (H2kRepairContext *context, H2kRepairSet set, GError **error)
{
  const H2kRepair *const *repairs = h2k_repairs_for (context->guest);

  context->set = set;
  if (context->windows && set && !h2k_windows_session_check (context->windows, error))
    return FALSE;
  for (guint i = 0; repairs[i]; i++)
    {
      const H2kRepair *repair = repairs[i];

      if (!(set & repair->flag) || !repair->applies (context))
        continue;
      g_info ("repair %s: %s", repair->name, repair->why);
      context->current = repair->name;
      if (!repair->run (context, error))
        {
          g_prefix_error (error, "repair \"%s\": ", repair->name);
          return FALSE;
        }
    }
  if (context->windows && !h2k_windows_session_commit (context->windows, error))
    return FALSE;
  context->current = NULL;
  return h2k_guest_flush (context->guest, error);
}

/* --- recording -------------------------------------------------------------------------------- */

static GBytes *
kept (GBytes *data)
{
  return data && g_bytes_get_size (data) <= MAX_KEPT ? g_bytes_ref (data) : NULL;
}

static H2kChange *
record (H2kRepairContext *context, H2kChangeKind kind, const char *path, GBytes *before,
        GBytes *after, const char *reason)
{
  H2kChange *change = g_new0 (H2kChange, 1);
  /* Where links lead matters to who reads the report: that file is changed. */
  gboolean nofollow = kind == H2K_CHANGE_REMOVE || kind == H2K_CHANGE_SYMLINK;

  change->repair = context->current;
  change->kind = kind;
  change->path = h2k_tree_resolve (context->guest->tree, path, nofollow);
  if (!change->path)
    change->path = g_strdup (path);
  change->before = kept (before);
  change->after = kept (after);
  change->reason = g_strdup (reason);
  g_ptr_array_add (context->changes, change);
  return change;
}

gboolean
h2k_repair_write (H2kRepairContext *context, const char *path, GBytes *data, guint32 mode,
                  const char *reason, GError **error)
{
  H2kTree *tree = context->guest->tree;
  g_autoptr (GBytes) before = NULL;
  g_autoptr (GError) local = NULL;
  H2kChange *change;

  before = h2k_tree_read_optional (tree, path, MAX_FILE, &local);
  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  if (before && g_bytes_equal (before, data))
    return TRUE;
  if (!h2k_tree_write (tree, path, data, mode, error))
    return FALSE;
  change
      = record (context, before ? H2K_CHANGE_EDIT : H2K_CHANGE_CREATE, path, before, data, reason);
  if (g_bytes_get_size (data) > MAX_KEPT)
    change->summary = h2k_format_size (g_bytes_get_size (data));
  return TRUE;
}

gboolean
h2k_repair_copy (H2kRepairContext *context, const char *path, GBytes *data, guint32 mode,
                 const char *summary, const char *reason, GError **error)
{
  guint changes = context->changes->len;
  H2kChange *change;

  if (!h2k_repair_write (context, path, data, mode, reason, error))
    return FALSE;
  if (context->changes->len == changes)
    return TRUE;
  change = context->changes->pdata[changes];
  g_free (change->summary);
  change->summary = g_strdup (summary);
  g_clear_pointer (&change->before, g_bytes_unref);
  g_clear_pointer (&change->after, g_bytes_unref);
  return TRUE;
}

/* LINE added to the lines in DATA. */
static void
add_line (GBytes **data, const char *line)
{
  gsize size = 0;
  const char *old = *data ? g_bytes_get_data (*data, &size) : "";
  char *text = g_strdup_printf ("%.*s%s\n", (int)size, old, line);

  g_clear_pointer (data, g_bytes_unref);
  *data = g_bytes_new_take (text, strlen (text));
}

static H2kChange *
registry_change (H2kRepairContext *context, const char *key, const char *reason)
{
  H2kChange *last;

  for (guint i = context->changes->len; i > 0; i--)
    {
      last = context->changes->pdata[i - 1];
      if (last->kind == H2K_CHANGE_REGISTRY && last->repair == context->current
          && strcmp (last->path, key) == 0 && strcmp (last->reason, reason) == 0
          && (!last->after || g_bytes_get_size (last->after) < MAX_KEPT))
        return last;
    }
  last = g_new0 (H2kChange, 1);
  last->repair = context->current;
  last->kind = H2K_CHANGE_REGISTRY;
  last->path = g_strdup (key);
  last->reason = g_strdup (reason);
  g_ptr_array_add (context->changes, last);
  return last;
}

void
h2k_repair_record_registry (H2kRepairContext *context, const char *key, const char *value,
                            const char *before, const char *after, const char *reason)
{
  H2kChange *change = registry_change (context, key, reason);
  g_autofree char *name = h2k_escape_text (value, -1);
  g_autofree char *old = before ? g_strconcat (name, before, NULL) : NULL;
  g_autofree char *new = after ? g_strconcat (name, after, NULL) : NULL;

  if (old)
    add_line (&change->before, old);
  if (new)
    add_line (&change->after, new);
}

gboolean
h2k_repair_append (H2kRepairContext *context, const char *path, GBytes *data, const char *summary,
                   const char *reason, GError **error)
{
  H2kChange *change;

  if (!h2k_tree_append (context->guest->tree, path, data, error))
    return FALSE;
  change = record (context, H2K_CHANGE_APPEND, path, NULL, data, reason);
  change->summary = g_strdup (summary);
  return TRUE;
}

/* What stands at PATH itself, for the report: a file's content, a link's target. */
static GBytes *
content_of (H2kTree *tree, const char *path, const H2kStat *st)
{
  if (S_ISLNK (st->mode))
    {
      char *target = h2k_tree_readlink (tree, path, NULL);
      return target ? g_bytes_new_take (target, strlen (target)) : NULL;
    }
  return S_ISREG (st->mode) ? h2k_tree_read_optional (tree, path, MAX_KEPT, NULL) : NULL;
}

/* A link has no lines that a diff could show. The caller's. */
static char *
describe_link (const char *words, GBytes *target)
{
  gsize size = 0;
  const char *text = target ? g_bytes_get_data (target, &size) : NULL;

  return g_strdup_printf ("%s %.*s", words, (int)MIN (size, 4096), text ? text : "");
}

gboolean
h2k_repair_remove (H2kRepairContext *context, const char *path, const char *reason, GError **error)
{
  H2kTree *tree = context->guest->tree;
  g_autofree char *resolved = h2k_tree_resolve (tree, path, TRUE);
  g_autoptr (GBytes) before = NULL;
  H2kChange *change;
  H2kStat st;

  if (!resolved || !h2k_tree_lstat (tree, resolved, &st, NULL))
    return TRUE;
  before = content_of (tree, resolved, &st);
  if (!h2k_tree_remove (tree, resolved, error))
    return FALSE;
  change = record (context, H2K_CHANGE_REMOVE, resolved, before, NULL, reason);
  if (S_ISLNK (st.mode))
    change->summary = describe_link ("a link to", before);
  return TRUE;
}

gboolean
h2k_repair_symlink (H2kRepairContext *context, const char *target, const char *path,
                    const char *reason, GError **error)
{
  H2kTree *tree = context->guest->tree;
  g_autoptr (GBytes) after = g_bytes_new (target, strlen (target));
  g_autoptr (GBytes) before = NULL;
  H2kChange *change;
  H2kStat st;

  if (h2k_tree_lstat (tree, path, &st, NULL))
    {
      before = content_of (tree, path, &st);
      if (S_ISLNK (st.mode) && before && g_bytes_equal (before, after))
        return TRUE;
    }
  if (!h2k_tree_symlink (tree, target, path, error))
    return FALSE;
  change = record (context, H2K_CHANGE_SYMLINK, path, before, after, reason);
  change->summary = describe_link ("now a link to", after);
  return TRUE;
}

void
h2k_repair_warn (H2kRepairContext *context, const char *format, ...)
{
  g_autofree char *text = NULL;
  char *safe;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  safe = h2k_escape_text (text, -1);
  g_info ("%s", safe);
  g_ptr_array_add (context->warnings, safe);
}
