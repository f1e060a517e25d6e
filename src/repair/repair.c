/* repair.c - the table of repairs, and the functions through which they change the guest, which
 * record every change for the report.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/repairs.h"

#include <sys/stat.h>

#define MAX_FILE (64 * 1024 * 1024) /* that a repair edits */
#define MAX_KEPT (1024 * 1024)      /* that is kept for the report's diff */

/* clang-format off: one a line */
const H2kRepair *const h2k_repairs[] = {
    &h2k_repair_fstab,
    &h2k_repair_bootloader,
    &h2k_repair_initramfs,
    &h2k_repair_udev,
    &h2k_repair_network,
    &h2k_repair_tools,
    NULL,
};
/* clang-format on */

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
h2k_repair_context_new (H2kGuest *guest)
{
  H2kRepairContext *context = g_new0 (H2kRepairContext, 1);

  context->guest = guest;
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
  g_ptr_array_unref (context->macs);
  g_ptr_array_unref (context->changes);
  g_ptr_array_unref (context->warnings);
  g_ptr_array_unref (context->nics);
  g_free (context);
}

gboolean
h2k_repair_run (H2kRepairContext *context, H2kRepairSet set, GError **error)
{
  for (guint i = 0; h2k_repairs[i]; i++)
    {
      const H2kRepair *repair = h2k_repairs[i];

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
