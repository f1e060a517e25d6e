/* session.c - the hives, drivers and first-boot files that the repairs of one Windows share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/windows/session.h"

#include "firstboot/firstboot.h"

#define N_HIVES (H2K_HIVE_SOFTWARE + 1)
#define DEFAULT_PROGRAMS "/Program Files"

static const char *const hive_files[N_HIVES] = {"SYSTEM", "SOFTWARE"};

struct _H2kWindowsSession
{
  H2kRepairContext *context; /* whose it is */
  H2kHive *hives[N_HIVES];   /* NULL: not opened yet */
  H2kDriverSource *source;
  GPtrArray *drivers;
  char *first_boot_dir;
  gboolean needs_first_boot;
  GString *restore; /* the text of a .reg file without its first line */
};

H2kWindowsSession *
h2k_windows_session_new (H2kRepairContext *context)
{
  H2kWindowsSession *session = g_new0 (H2kWindowsSession, 1);

  session->context = context;
  session->restore = g_string_new (NULL);
  return session;
}

void
h2k_windows_session_free (H2kWindowsSession *session)
{
  if (!session)
    return;
  for (guint i = 0; i < N_HIVES; i++)
    h2k_hive_free (session->hives[i]);
  g_clear_pointer (&session->drivers, g_ptr_array_unref);
  g_clear_pointer (&session->source, h2k_driver_source_unref);
  g_free (session->first_boot_dir);
  g_string_free (session->restore, TRUE);
  g_free (session);
}

gboolean
h2k_windows_session_check (const H2kWindowsSession *session, GError **error)
{
  const H2kGuest *guest = session->context->guest;

  if (strcmp (h2k_volume_role (guest->root->volume), "ldm") == 0)
    {
      g_set_error (
          error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
          "%s: Windows is on a dynamic disk (LDM), whose database was not read: its volume "
          "may have a mirror or go on elsewhere. Convert it to a basic disk before the "
          "export",
          guest->root->node->name);
      return FALSE;
    }
  return h2k_fs_check_writable (guest->windows->fs, error);
}

char *
h2k_windows_path (const H2kRepairContext *context, const char *name)
{
  return g_build_filename (context->guest->windows->root, name, NULL);
}

/* --- registry --------------------------------------------------------------------------------- */

H2kHive *
h2k_windows_hive (H2kRepairContext *context, H2kWindowsHiveName name, GError **error)
{
  H2kWindowsSession *session = context->windows;
  const H2kWindows *w = context->guest->windows;
  g_autofree char *path = g_build_filename (w->config, hive_files[name], NULL);

  if (session->hives[name])
    return session->hives[name];
  if (!h2k_fs_check_writable (w->fs, error))
    return NULL;
  session->hives[name] = h2k_hive_open (w->fs, path, TRUE, context->options.temp_dir, error);
  return session->hives[name];
}

/* "HKLM\SYSTEM\ControlSet001\...". */
static char *
shown_key (H2kWindowsHiveName hive, const char *key)
{
  g_autofree char *whole = g_strconcat ("HKLM\\", hive_files[hive], *key ? "\\" : "", key, NULL);

  return h2k_escape_text (whole, -1);
}

/* How the value NAME begins in a line: "Start"= or @=. */
static char *
shown_name (const char *name)
{
  return *name ? g_strdup_printf ("\"%s\"=", name) : g_strdup ("@=");
}

gboolean
h2k_windows_set (H2kRepairContext *context, H2kWindowsHiveName name, const char *key,
                 H2kRegValue *value, const char *reason, GError **error)
{
  g_autoptr (H2kRegValue) owned = value;
  H2kHive *hive = h2k_windows_hive (context, name, error);
  g_autoptr (H2kRegValue) old = hive ? h2k_hive_get (hive, key, owned->name) : NULL;
  g_autofree char *shown = shown_key (name, key), *label = shown_name (owned->name);
  g_autofree char *before = old ? h2k_reg_value_to_text (old) : NULL;
  g_autofree char *after = h2k_reg_value_to_text (owned);

  if (!hive)
    return FALSE;
  if (old && old->type == owned->type && g_bytes_equal (old->data, owned->data))
    return TRUE;
  if (!h2k_hive_set (hive, key, owned, error))
    return FALSE;
  h2k_repair_record_registry (context, shown, label, before, after, reason);
  return TRUE;
}

gboolean
h2k_windows_add_key (H2kRepairContext *context, H2kWindowsHiveName name, const char *key,
                     const char *reason, GError **error)
{
  H2kHive *hive = h2k_windows_hive (context, name, error);
  g_autofree char *shown = shown_key (name, key);

  if (!hive)
    return FALSE;
  if (h2k_hive_has_key (hive, key))
    return TRUE;
  if (!h2k_hive_add_key (hive, key, error))
    return FALSE;
  h2k_repair_record_registry (context, shown, "", NULL, "(key)", reason);
  return TRUE;
}

gboolean
h2k_windows_remove_value (H2kRepairContext *context, H2kWindowsHiveName name, const char *key,
                          const char *value, const char *reason, GError **error)
{
  H2kHive *hive = h2k_windows_hive (context, name, error);
  g_autoptr (H2kRegValue) old = hive ? h2k_hive_get (hive, key, value) : NULL;
  g_autofree char *shown = shown_key (name, key), *label = shown_name (value);
  g_autofree char *before = old ? h2k_reg_value_to_text (old) : NULL;

  if (!hive)
    return FALSE;
  if (!old)
    return TRUE;
  if (!h2k_hive_remove_value (hive, key, value, error))
    return FALSE;
  h2k_repair_record_registry (context, shown, label, before, NULL, reason);
  return TRUE;
}

/* Everything in KEY, for the report. */
static void
record_values (H2kRepairContext *context, H2kWindowsHiveName name, H2kHive *hive, const char *key,
               const char *reason, guint depth)
{
  g_autoptr (GPtrArray) values = h2k_hive_list_values (hive, key);
  g_autoptr (GPtrArray) keys = h2k_hive_list_keys (hive, key);
  g_autofree char *shown = shown_key (name, key);

  h2k_repair_record_registry (context, shown, "", "(key)", NULL, reason);
  for (guint i = 0; values && i < MIN (values->len, 256); i++)
    {
      const H2kRegValue *value = values->pdata[i];
      g_autofree char *label = shown_name (value->name);
      g_autofree char *text = h2k_reg_value_to_text (value);
      h2k_repair_record_registry (context, shown, label, text, NULL, reason);
    }
  for (guint i = 0; depth < 16 && keys && i < MIN (keys->len, 256); i++)
    {
      g_autofree char *below = g_strconcat (key, "\\", (char *)keys->pdata[i], NULL);
      record_values (context, name, hive, below, reason, depth + 1);
    }
}

gboolean
h2k_windows_remove_key (H2kRepairContext *context, H2kWindowsHiveName name, const char *key,
                        const char *reason, GError **error)
{
  H2kHive *hive = h2k_windows_hive (context, name, error);

  if (!hive)
    return FALSE;
  if (!h2k_hive_has_key (hive, key))
    return TRUE;
  record_values (context, name, hive, key, reason, 0);
  return h2k_hive_remove_key (hive, key, error);
}

static void
note_backups (H2kRepairContext *context, const char *path, const H2kHiveInfo *info)
{
  for (guint i = 0; i < info->backups->len; i++)
    {
      H2kChange *change = g_new0 (H2kChange, 1);
      change->repair = context->current;
      change->kind = H2K_CHANGE_CREATE;
      change->path = h2k_escape_text (info->backups->pdata[i], -1);
      change->summary = g_strdup_printf ("a copy of what %s was", path);
      change->reason = g_strdup ("a registry hive is changed, and the original is kept beside it");
      g_ptr_array_add (context->changes, change);
    }
}

gboolean
h2k_windows_session_commit (H2kWindowsSession *session, GError **error)
{
  for (guint i = 0; i < N_HIVES; i++)
    {
      H2kHive *hive = session->hives[i];
      gboolean changed = hive && h2k_hive_is_changed (hive);

      if (changed && !h2k_hive_commit (hive, error))
        return FALSE;
      if (changed)
        note_backups (session->context, hive_files[i], h2k_hive_info (hive));
    }
  return TRUE;
}

/* --- drivers ---------------------------------------------------------------------------------- */

H2kDriverSource *
h2k_windows_driver_source (H2kRepairContext *context, GError **error)
{
  H2kWindowsSession *session = context->windows;

  if (!session->source)
    session->source = h2k_driver_source_open (context->options.virtio_win,
                                              context->options.virtio_config, error);
  return session->source;
}

H2kDriverSource *
h2k_windows_named_driver_source (H2kRepairContext *context, GError **error)
{
  return context->windows->source || context->options.virtio_win
             ? h2k_windows_driver_source (context, error)
             : NULL;
}

gboolean
h2k_windows_does_without_drivers (H2kRepairContext *context)
{
  const H2kRepairOptions *o = &context->options;
  g_autoptr (GError) error = NULL;

  return o->known_disks && !o->virtio_win && !o->virtio_config
         && !h2k_windows_driver_source (context, &error)
         && g_error_matches (error, H2K_ERROR, H2K_ERROR_SOURCE);
}

gboolean
h2k_windows_gets_network_driver (const H2kRepairContext *context)
{
  const GPtrArray *drivers = context->windows ? context->windows->drivers : NULL;

  for (guint i = 0; drivers && i < drivers->len; i++)
    if (((const H2kDriver *)drivers->pdata[i])->role == H2K_DRIVER_NETWORK)
      return TRUE;
  return FALSE;
}

GPtrArray *
h2k_windows_drivers (H2kRepairContext *context, GError **error)
{
  H2kWindowsSession *session = context->windows;
  const H2kWindows *w = context->guest->windows;
  H2kDriverSource *source = h2k_windows_driver_source (context, error);
  g_autoptr (GPtrArray) notes = g_ptr_array_new_with_free_func (g_free);

  if (!source || session->drivers)
    return session->drivers;
  session->drivers = h2k_driver_source_find (source, &w->version, notes, error);
  for (guint i = 0; i < notes->len; i++)
    h2k_repair_warn (context, "%s", (char *)notes->pdata[i]);
  return session->drivers;
}

/* --- first boot ------------------------------------------------------------------------------- */

/* Localized releases before Vista call the folder something else. */
static char *
find_programs (H2kRepairContext *context)
{
  const H2kWindows *w = context->guest->windows;
  H2kHive *hive = h2k_windows_hive (context, H2K_HIVE_SOFTWARE, NULL);
  g_autofree char *dir
      = hive ? h2k_hive_get_string (hive, "Microsoft\\Windows\\CurrentVersion", "ProgramFilesDir")
             : NULL;
  char *path;

  if (!dir || !w->drive || g_ascii_toupper (dir[0]) != w->drive || dir[1] != ':' || dir[2] != '\\'
      || strstr (dir, ".."))
    return g_strdup (DEFAULT_PROGRAMS);
  path = g_strdelimit (g_strdup (dir + 2), "\\", '/');
  if (h2k_tree_is_dir (context->guest->tree, path))
    return path;
  g_free (path);
  return g_strdup (DEFAULT_PROGRAMS);
}

const char *
h2k_windows_first_boot_dir (H2kRepairContext *context)
{
  H2kWindowsSession *session = context->windows;

  if (!session->first_boot_dir)
    {
      g_autofree char *programs = find_programs (context);
      session->first_boot_dir = g_build_filename (programs, "hyper2kvm", "firstboot", NULL);
    }
  return session->first_boot_dir;
}

gboolean
h2k_windows_first_boot_file (H2kRepairContext *context, const char *name, GBytes *data,
                             const char *summary, const char *reason, GError **error)
{
  g_autofree char *path = g_build_filename (h2k_windows_first_boot_dir (context), name, NULL);

  context->windows->needs_first_boot = TRUE;
  return summary ? h2k_repair_copy (context, path, data, 0644, summary, reason, error)
                 : h2k_repair_write (context, path, data, 0644, reason, error);
}

gboolean
h2k_windows_needs_first_boot (const H2kRepairContext *context)
{
  return context->windows->needs_first_boot;
}

gboolean
h2k_windows_has_first_boot (const H2kRepairContext *context)
{
  g_autoptr (GBytes) program = h2k_firstboot_program (context->guest->arch);

  return program && context->set & H2K_REPAIR_FIRSTBOOT;
}

gboolean
h2k_windows_first_boot_is_over (H2kRepairContext *context)
{
  g_autofree char *log
      = g_build_filename (h2k_windows_first_boot_dir (context), "h2k-firstboot.log", NULL);

  return !context->guest->windows->first_boot_ahead && h2k_tree_exists (context->guest->tree, log);
}

/* --- what is restored ------------------------------------------------------------------------- */

static void
append_quoted (GString *out, const char *text)
{
  g_string_append_c (out, '"');
  for (; *text; text++)
    {
      if (*text == '"' || *text == '\\')
        g_string_append_c (out, '\\');
      g_string_append_c (out, *text);
    }
  g_string_append_c (out, '"');
}

/* Any type can be written as bytes. */
static void
append_data (GString *out, const H2kRegValue *value)
{
  gsize size;
  const guint8 *data = g_bytes_get_data (value->data, &size);

  g_string_append_printf (out, "hex(%x):", value->type);
  for (gsize i = 0; i < size; i++)
    g_string_append_printf (out, "%s%02x", i ? "," : "", data[i]);
}

void
h2k_windows_restore_later (H2kRepairContext *context, const char *key, const char *name,
                           const H2kRegValue *value)
{
  GString *out = context->windows->restore;

  g_string_append_printf (out, "\r\n[%s]\r\n", key);
  append_quoted (out, name);
  g_string_append_c (out, '=');
  if (value)
    append_data (out, value);
  else
    g_string_append_c (out, '-');
  g_string_append (out, "\r\n");
}

GBytes *
h2k_windows_restore_file (H2kRepairContext *context)
{
  const GString *body = context->windows->restore;
  g_autofree char *text = NULL;
  gunichar2 *wide;
  glong length;

  if (!body->len)
    return NULL;
  text = g_strconcat ("\xef\xbb\xbfWindows Registry Editor Version 5.00\r\n", body->str, NULL);
  wide = g_utf8_to_utf16 (text, -1, NULL, &length, NULL);
  if (!wide)
    return NULL;
  for (glong i = 0; i < length; i++)
    wide[i] = GUINT16_TO_LE (wide[i]);
  return g_bytes_new_take (wide, (gsize)length * sizeof *wide);
}
