/* grub.c - bootloader configuration names the root and resume devices by UUID: GRUB 2's own files
 * and what they are generated from, boot loader entries, GRUB legacy and extlinux.
 *
 * GRUB's own device names, root='hd0,msdos1' and --hint-*, stay: they count the disks that the
 * firmware shows, and virtio disks are shown like any other.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/cmdline.h"
#include "repair/edit.h"
#include "repair/grub-debian.h"
#include "repair/repairs.h"

#define REASON "the kernel was told a device by a name that changes with the disks' bus"

/* Whether the guest does not boot when a root device in the file cannot be known. */
typedef enum
{
  NOT_READ_AT_BOOT,  /* a warning: what is generated of it later would be wrong */
  THE_DEFAULT_ENTRY, /* in grub.cfg */
  THE_SAVED_ENTRY,   /* one file an entry, named by the environment block */
  EVERY_ENTRY,       /* the file's default is not looked for: some entry must be bootable */
} Needed;

static const struct
{
  const char *pattern;
  H2kLinesKind kind;
  Needed needed;
} files[] = {
    {"/boot/grub/grub.cfg", H2K_LINES_GRUB_CFG, THE_DEFAULT_ENTRY},
    {"/boot/grub2/grub.cfg", H2K_LINES_GRUB_CFG, THE_DEFAULT_ENTRY},
    {"/boot/efi/EFI/*/grub.cfg", H2K_LINES_GRUB_CFG, THE_DEFAULT_ENTRY},
    {"/efi/EFI/*/grub.cfg", H2K_LINES_GRUB_CFG, THE_DEFAULT_ENTRY},
    {"/etc/grub2*.cfg", H2K_LINES_GRUB_CFG, THE_DEFAULT_ENTRY},
    {"/boot/grub*/custom.cfg", H2K_LINES_GRUB_CFG, NOT_READ_AT_BOOT},
    {"/boot/loader/entries/*.conf", H2K_LINES_BLS, THE_SAVED_ENTRY},
    {"/boot/efi/loader/entries/*.conf", H2K_LINES_BLS, THE_SAVED_ENTRY},
    {"/efi/loader/entries/*.conf", H2K_LINES_BLS, THE_SAVED_ENTRY},
    {"/boot/grub/menu.lst", H2K_LINES_GRUB_LEGACY, EVERY_ENTRY},
    {"/boot/grub/grub.conf", H2K_LINES_GRUB_LEGACY, EVERY_ENTRY},
    {"/boot/extlinux/*.conf", H2K_LINES_EXTLINUX, EVERY_ENTRY},
    {"/boot/extlinux.conf", H2K_LINES_EXTLINUX, EVERY_ENTRY},
    {"/boot/syslinux/*.cfg", H2K_LINES_EXTLINUX, EVERY_ENTRY},
    {"/etc/default/grub", H2K_LINES_GRUB_DEFAULT, NOT_READ_AT_BOOT},
    {"/etc/default/grub.d/*.cfg", H2K_LINES_GRUB_DEFAULT, NOT_READ_AT_BOOT},
    {"/etc/grub.d/*_custom", H2K_LINES_GRUB_CFG, NOT_READ_AT_BOOT},
    {"/etc/kernel/cmdline", H2K_LINES_ANY, NOT_READ_AT_BOOT},
    {"/etc/sysconfig/bootloader", H2K_LINES_ANY, NOT_READ_AT_BOOT},
    {"/etc/default/extlinux", H2K_LINES_ANY, NOT_READ_AT_BOOT},
    {"/etc/update-extlinux.conf", H2K_LINES_ANY, NOT_READ_AT_BOOT},
    {"/etc/dracut.conf", H2K_LINES_DRACUT, NOT_READ_AT_BOOT},
    {"/etc/dracut.conf.d/*.conf", H2K_LINES_DRACUT, NOT_READ_AT_BOOT},
};

static const char *const grubenv_patterns[] = {
    "/boot/grub/grubenv",
    "/boot/grub2/grubenv",
    "/boot/efi/EFI/*/grubenv",
    "/efi/EFI/*/grubenv",
};

static const char *const device_maps[] = {"/boot/grub/device.map", "/boot/grub2/device.map"};

static gboolean
bootloader_applies (H2kRepairContext *context)
{
  for (guint i = 0; i < G_N_ELEMENTS (files); i++)
    {
      g_autoptr (GPtrArray) paths = h2k_tree_glob (context->guest->tree, files[i].pattern);
      if (paths->len)
        return TRUE;
    }
  return FALSE;
}

/* --- renaming --------------------------------------------------------------------------------- */

typedef struct
{
  H2kRepairContext *context;
  const char *path;
  gboolean needed;    /* an unknown root is an error */
  char *unknown_root; /* the first one */
  guint known_roots;
} Renamer;

static char *
rename_device (const char *key, const char *spec, gpointer data)
{
  Renamer *renamer = data;
  gboolean root = strcmp (key, "root") == 0 || strcmp (key, "real_root") == 0;
  char *name = NULL;
  H2kNameVerdict verdict
      = h2k_repair_judge_name (renamer->context->guest, spec, H2K_NAME_CMDLINE, &name);

  renamer->known_roots += root && verdict != H2K_NAME_UNKNOWN;
  if (verdict != H2K_NAME_UNKNOWN)
    return name;
  if (root && renamer->needed && !renamer->unknown_root)
    renamer->unknown_root = g_strdup (spec);
  if (!root || !renamer->needed)
    h2k_repair_warn (renamer->context,
                     "%s: %s=%s is on none of the disks, or has no UUID of its own; it was left "
                     "as it is",
                     renamer->path, key, spec);
  return NULL;
}

static gboolean
renamer_finish (Renamer *renamer, gboolean fatal, GError **error)
{
  g_autofree char *unknown = g_steal_pointer (&renamer->unknown_root);
  g_autofree char *text = NULL;
  g_autofree char *safe = NULL;

  if (!unknown)
    return TRUE;
  text = g_strdup_printf ("%s boots root=%s", renamer->path, unknown);
  safe = h2k_escape_text (text, -1);
  if (fatal)
    g_set_error (error, H2K_ERROR, H2K_ERROR_REPAIR,
                 "%s, which is on none of the %u disk(s) or has no UUID of its own: the guest "
                 "would not find its root. Give every disk of the VM in its order, or name the "
                 "root by UUID in the guest first",
                 safe, renamer->context->guest->disks->len);
  else
    h2k_repair_warn (renamer->context, "%s, which is on none of the disks; it was left as it is",
                     text);
  return !fatal;
}

/* --- environment blocks ----------------------------------------------------------------------- */

/* saved_entry of the block beside grub.cfg PATH, or of any other. The caller's; NULL: none. */
static char *
saved_entry (H2kGuest *guest, const char *path)
{
  g_autofree char *dir = g_path_get_dirname (path);
  g_autofree char *beside = g_strconcat (dir, "/grubenv", NULL);
  g_autoptr (GPtrArray) paths = g_ptr_array_new_with_free_func (g_free);

  g_ptr_array_add (paths, g_strdup (beside));
  for (guint i = 0; i < G_N_ELEMENTS (grubenv_patterns); i++)
    g_ptr_array_extend_and_steal (paths, h2k_tree_glob (guest->tree, grubenv_patterns[i]));
  for (guint i = 0; i < paths->len; i++)
    {
      g_autoptr (GBytes) data
          = h2k_tree_read_optional (guest->tree, paths->pdata[i], 64 * 1024, NULL);
      char *value = data ? h2k_grubenv_get (data, "saved_entry") : NULL;
      if (value && *value)
        return value;
      g_free (value);
    }
  return NULL;
}

static gboolean
repair_grubenv (H2kRepairContext *context, const char *path, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (GBytes) data = h2k_tree_read_optional (context->guest->tree, path, 64 * 1024, &local);
  g_autoptr (GBytes) changed = NULL;
  Renamer renamer = {context, path, TRUE, NULL, 0};

  if (data)
    changed = h2k_grubenv_rename (data, rename_device, &renamer, &local);
  if (local)
    {
      g_clear_pointer (&renamer.unknown_root, g_free);
      g_propagate_error (error, g_steal_pointer (&local));
      g_prefix_error (error, "%s: ", path);
      return FALSE;
    }
  if (!renamer_finish (&renamer, TRUE, error))
    return FALSE;
  if (data && !changed)
    h2k_repair_warn (context, "%s is no valid environment block, GRUB ignores it, too", path);
  return !changed || h2k_repair_write (context, path, changed, 0644, REASON, error);
}

/* --- /etc/default/grub ------------------------------------------------------------------------ */

/* Where the value of KEY lies in a line of shell assignments, quotes excluded. */
static gboolean
shell_value (const char *line, const char *key, gsize *start, gsize *length)
{
  const char *p = line + strspn (line, " \t");
  gsize n = strlen (key);

  p += g_str_has_prefix (p, "export ") ? 7 : 0;
  if (strncmp (p, key, n) != 0 || p[n] != '=')
    return FALSE;
  p += n + 1;
  if (*p == '"' || *p == '\'')
    {
      *start = (gsize)(p + 1 - line);
      *length = strcspn (p + 1, *p == '"' ? "\"" : "'");
    }
  else
    {
      *start = (gsize)(p - line);
      *length = strcspn (p, " \t#;\r");
    }
  return TRUE;
}

static gboolean
value_is (const char *line, gsize start, gsize length, const char *text)
{
  return length == strlen (text) && strncmp (line + start, text, length) == 0;
}

/* grub-mkconfig writes root=/dev/... when it may use neither kind of UUID. */
static gboolean
uses_part_uuid (const H2kLines *lines)
{
  gboolean uses = FALSE;
  gsize start, length;

  for (guint i = 0; i < h2k_lines_count (lines); i++)
    {
      const char *line = h2k_lines_get ((H2kLines *)lines, i);
      if (shell_value (line, "GRUB_DISABLE_LINUX_PARTUUID", &start, &length))
        uses = value_is (line, start, length, "false");
    }
  return uses;
}

static gboolean
allow_uuids (H2kLines *lines)
{
  static const char *const keys[] = {"GRUB_DISABLE_LINUX_UUID", "GRUB_DISABLE_UUID"};
  gboolean changed = FALSE;
  gsize start, length;

  if (uses_part_uuid (lines))
    return FALSE;
  for (guint i = 0; i < h2k_lines_count (lines); i++)
    for (guint k = 0; k < G_N_ELEMENTS (keys); k++)
      {
        const char *line = h2k_lines_get (lines, i);
        g_autofree char *edited = NULL;

        if (!shell_value (line, keys[k], &start, &length)
            || !value_is (line, start, length, "true"))
          continue;
        edited = h2k_splice (line, start, length, "false");
        h2k_lines_set (lines, i, edited);
        changed = TRUE;
      }
  return changed;
}

/* GRUB_DEVICE= overrides what grub-mkconfig found out; it wants a path. */
static gboolean
rename_grub_device (H2kRepairContext *context, const char *path, H2kLines *lines)
{
  static const char *const keys[] = {"GRUB_DEVICE", "GRUB_DEVICE_BOOT"};
  gboolean changed = FALSE;
  gsize start, length;

  for (guint i = 0; i < h2k_lines_count (lines); i++)
    for (guint k = 0; k < G_N_ELEMENTS (keys); k++)
      {
        const char *line = h2k_lines_get (lines, i);
        g_autofree char *spec = NULL, *name = NULL, *edited = NULL;
        H2kNameVerdict verdict;

        if (!shell_value (line, keys[k], &start, &length))
          continue;
        spec = g_strndup (line + start, length);
        verdict = h2k_repair_judge_name (context->guest, spec, H2K_NAME_PATH, &name);
        if (verdict == H2K_NAME_UNKNOWN)
          h2k_repair_warn (context, "%s: %s=%s is on none of the disks", path, keys[k], spec);
        if (verdict != H2K_NAME_CHANGES)
          continue;
        edited = h2k_splice (line, start, length, name);
        h2k_lines_set (lines, i, edited);
        changed = TRUE;
      }
  return changed;
}

static const char *
repair_defaults (H2kRepairContext *context, const char *path, H2kLines *lines)
{
  gboolean device = rename_grub_device (context, path, lines);

  if (allow_uuids (lines))
    return "grub-mkconfig was told not to use UUIDs and would write /dev names into grub.cfg again";
  return device ? "grub-mkconfig was told a device by a name that changes with the disks' bus"
                : REASON;
}

/* --- one file --------------------------------------------------------------------------------- */

/* The environment block names an entry by its file's name; without it the newest is booted. */
static gboolean
is_saved (H2kGuest *guest, const char *path)
{
  g_autofree char *saved = saved_entry (guest, path);
  g_autofree char *base = g_path_get_basename (path);
  g_autofree char *wanted = saved ? g_strconcat (saved, ".conf", NULL) : NULL;
  g_autofree char *dir = g_path_get_dirname (path);
  g_autofree char *wanted_path = saved ? g_strconcat (dir, "/", wanted, NULL) : NULL;

  if (wanted && h2k_tree_exists (guest->tree, wanted_path))
    return strcmp (base, wanted) == 0;
  return strstr (base, "rescue") == NULL;
}

static gboolean
rename_in_grub_cfg (Renamer *renamer, H2kLines *lines, GError **error)
{
  g_autofree char *saved = saved_entry (renamer->context->guest, renamer->path);
  guint first = 0, last = G_MAXUINT;
  gboolean has_entry = h2k_grub_default_entry (lines, saved, &first, &last);

  h2k_lines_rename (lines, H2K_LINES_GRUB_CFG, first, last, rename_device, renamer);
  if (!renamer_finish (renamer, TRUE, error))
    return FALSE;
  if (!has_entry)
    return TRUE;
  renamer->needed = FALSE;
  if (first > 0)
    h2k_lines_rename (lines, H2K_LINES_GRUB_CFG, 0, first - 1, rename_device, renamer);
  h2k_lines_rename (lines, H2K_LINES_GRUB_CFG, last + 1, G_MAXUINT, rename_device, renamer);
  return TRUE;
}

static gboolean
repair_file (H2kRepairContext *context, guint which, const char *path, GError **error)
{
  Needed needed = files[which].needed;
  g_autoptr (GError) local = NULL;
  g_autoptr (H2kLines) lines = h2k_repair_read_lines (context, path, &local);
  Renamer renamer = {context, path, needed != NOT_READ_AT_BOOT, NULL, 0};
  const char *reason = REASON;

  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  if (!lines)
    return TRUE;
  if (needed == THE_DEFAULT_ENTRY)
    {
      if (!rename_in_grub_cfg (&renamer, lines, error))
        return FALSE;
    }
  else
    h2k_lines_rename (lines, files[which].kind, 0, G_MAXUINT, rename_device, &renamer);
  if (!renamer_finish (&renamer,
                       needed == EVERY_ENTRY ? renamer.known_roots == 0
                                             : is_saved (context->guest, path),
                       error))
    return FALSE;
  if (files[which].kind == H2K_LINES_GRUB_DEFAULT)
    reason = repair_defaults (context, path, lines);
  return h2k_repair_write_lines (context, path, lines, reason, error);
}

/* --- device.map ------------------------------------------------------------------------------- */

/* GRUB 2 needs no map, it finds the disks by itself, and so does GRUB legacy's grub-install. An
 * old map does harm: no name that could be written instead is right on every bus. */
static gboolean
repair_device_map (H2kRepairContext *context, const char *path, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (H2kLines) lines = h2k_repair_read_lines (context, path, &local);
  gboolean stale = FALSE;

  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  for (guint i = 0; lines && i < h2k_lines_count (lines); i++)
    {
      const char *line = h2k_lines_get (lines, i);
      const char *device = strstr (line, "/dev/");
      gboolean stable = TRUE;

      if (device && *line == '(')
        h2k_guest_find_volume (context->guest, device, &stable);
      stale |= !stable;
    }
  return !stale
         || h2k_repair_remove (context, path,
                               "the map names disks as they were called on the old hypervisor; "
                               "without it GRUB finds them by itself",
                               error);
}

/* --- all -------------------------------------------------------------------------------------- */

static gboolean
repair_files (H2kRepairContext *context, GError **error)
{
  H2kTree *tree = context->guest->tree;
  g_autoptr (GHashTable) seen = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);

  for (guint i = 0; i < G_N_ELEMENTS (files); i++)
    {
      g_autoptr (GPtrArray) paths = h2k_tree_glob (tree, files[i].pattern);
      for (guint k = 0; k < paths->len; k++)
        {
          char *path = h2k_tree_resolve (tree, paths->pdata[k], FALSE);

          if (path && g_hash_table_add (seen, path) && !repair_file (context, i, path, error))
            return FALSE;
        }
    }
  return TRUE;
}

static gboolean
bootloader_run (H2kRepairContext *context, GError **error)
{
  H2kTree *tree = context->guest->tree;

  if (context->guest->bootloader == H2K_BOOTLOADER_UNKNOWN)
    h2k_repair_warn (context, "no bootloader that is known was found: whether it names the root by "
                              "UUID was not looked at");
  if (!repair_files (context, error))
    return FALSE;
  for (guint i = 0; i < G_N_ELEMENTS (grubenv_patterns); i++)
    {
      g_autoptr (GPtrArray) paths = h2k_tree_glob (tree, grubenv_patterns[i]);
      for (guint k = 0; k < paths->len; k++)
        if (!repair_grubenv (context, paths->pdata[k], error))
          return FALSE;
    }
  for (guint i = 0; i < G_N_ELEMENTS (device_maps); i++)
    if (!repair_device_map (context, device_maps[i], error))
      return FALSE;
  return h2k_repair_grub_debconf (context, error);
}

const H2kRepair h2k_repair_bootloader = {
    .name = "bootloader",
    .flag = H2K_REPAIR_BOOTLOADER,
    .why = "the bootloader must tell the kernel its root so that the disks' bus does not matter",
    .applies = bootloader_applies,
    .run = bootloader_run,
};
