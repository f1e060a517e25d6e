/* first-boot.c - the service that ends the work when Windows first runs on KVM: its program, its
 * settings, its scripts and the user's, and what it restores.
 *
 * firstboot/firstboot.h says what belongs into its folder, firstboot/service.c which values its key
 * has. It removes itself when it is done, and leaves its log and its state: these tell later
 * migrations of the same Windows what was done.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "firstboot/firstboot.h"
#include "repair/repairs.h"
#include "repair/windows/session.h"

#include <glib/gstdio.h>
#include <sys/stat.h>

#define MAX_SCRIPT H2K_DRIVER_FILE_MAX
#define MAX_SCRIPTS 100u
#define MAX_NAME 64
#define MAX_STATE (1024 * 1024)
#define PROGRAM "h2k-firstboot.exe"
#define AGENT "data/qemu-ga.msi"
#define RESTORE "data/restore.reg"
#define REASON "a service ends the work when Windows first runs on KVM, and removes itself then"

/* A program or script of the user's. */
typedef struct
{
  char *name; /* in the guest's folder of scripts: "500-name.cmd" */
  GBytes *data;
} Script;

static void
script_free (gpointer data)
{
  Script *script = data;

  g_free (script->name);
  g_clear_pointer (&script->data, g_bytes_unref);
  g_free (script);
}

/* --- files of this host ----------------------------------------------------------------------- */

static GBytes *
read_host_file (const char *path, GError **error)
{
  g_autofree char *shown = h2k_escape_text (path, -1);
  g_autoptr (GError) local = NULL;
  char *data;
  gsize length;
  GStatBuf st;

  if (g_stat (path, &st) == 0 && (!S_ISREG (st.st_mode) || st.st_size > MAX_SCRIPT))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                   "%s cannot be put into the guest, since it %s: give another file", shown,
                   S_ISREG (st.st_mode) ? "is larger than 64 MiB" : "is no regular file");
      return NULL;
    }
  if (g_file_get_contents (path, &data, &length, &local))
    return g_bytes_new_take (data, length);
  g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
               "%s, which the guest is to run at its first boot, cannot be read: %s", shown,
               local->message);
  return NULL;
}

/* cmd.exe may miss labels in a file whose lines end as on other systems. */
static GBytes *
with_line_ends (GBytes *data)
{
  gsize size;
  const char *text = g_bytes_get_data (data, &size);
  g_autoptr (GString) out = NULL;

  if (size == 0 || memchr (text, '\r', size) || memchr (text, '\0', size))
    return g_bytes_ref (data);
  out = g_string_new_len (text, (gssize)size);
  g_string_replace (out, "\n", "\r\n", 0);
  return g_string_free_to_bytes (g_steal_pointer (&out));
}

/* What firstboot/kinds.c can run, with the first Windows that has its interpreter. */
static const struct
{
  const char *extension;
  gboolean lines; /* its line ends matter */
  guint major, minor;
} kinds[] = {
    {".cmd", TRUE},  {".bat", TRUE},  {".ps1", FALSE, 6, 1}, {".vbs", FALSE},
    {".msi", FALSE}, {".reg", FALSE}, {".exe", FALSE},
};

/* BASE, which ends with EXTENSION, in characters that need no quoting anywhere. The caller's. */
static char *
safe_name (guint number, const char *base, const char *extension)
{
  gsize length = MIN (strlen (base) - strlen (extension), MAX_NAME);
  g_autofree char *stem = g_strndup (base, length);

  g_strcanon (stem, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "._-", '_');
  return g_strdup_printf ("5%02u-%s%s", number, stem, extension);
}

static Script *
read_script (H2kRepairContext *context, guint number, const char *path, GError **error)
{
  g_autofree char *base = g_path_get_basename (path), *shown = h2k_escape_text (path, -1);
  const char *dot = strrchr (base, '.');
  g_autoptr (GBytes) data = NULL;
  Script *script;
  guint kind = 0;

  while (kind < G_N_ELEMENTS (kinds)
         && (!dot || g_ascii_strcasecmp (dot, kinds[kind].extension) != 0))
    kind++;
  if (kind == G_N_ELEMENTS (kinds))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                   "%s: Windows cannot run it at its first boot; its name has to end with .cmd, "
                   ".bat, .ps1, .vbs, .msi, .reg or .exe",
                   shown);
      return NULL;
    }
  data = read_host_file (path, error);
  if (!data)
    return NULL;
  if (!h2k_windows_is_at_least (context->guest->windows, kinds[kind].major, kinds[kind].minor))
    h2k_repair_warn (context,
                     "%s: this release of Windows comes without PowerShell: a .cmd or .vbs runs "
                     "everywhere",
                     shown);
  script = g_new0 (Script, 1);
  script->name = safe_name (number, base, kinds[kind].extension);
  script->data = kinds[kind].lines ? with_line_ends (data) : g_bytes_ref (data);
  return script;
}

/* Script *: the user's. */
static GPtrArray *
read_scripts (H2kRepairContext *context, GError **error)
{
  const GPtrArray *paths = context->options.first_boot;
  g_autoptr (GPtrArray) scripts = g_ptr_array_new_with_free_func (script_free);

  if (paths && paths->len > MAX_SCRIPTS)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                   "--firstboot is given %u times, and at most %u are possible: let one script run "
                   "the others",
                   paths->len, MAX_SCRIPTS);
      return NULL;
    }
  for (guint i = 0; paths && i < paths->len; i++)
    {
      Script *script = read_script (context, i, paths->pdata[i], error);
      if (!script)
        return NULL;
      g_ptr_array_add (scripts, script);
    }
  return g_steal_pointer (&scripts);
}

static gboolean
has_service (H2kRepairContext *context, const char *service)
{
  H2kHive *hive = h2k_windows_hive (context, H2K_HIVE_SYSTEM, NULL);
  g_autofree char *key
      = g_strconcat (context->guest->windows->control_set, "\\Services\\", service, NULL);

  return hive && h2k_hive_has_key (hive, key);
}

/* The guest agent's installer that was given, or the drivers' where there is no agent yet. FALSE is
 * an error; *DATA NULL: there is none. */
static gboolean
read_agent (H2kRepairContext *context, GBytes **data, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (H2kDriverFile) file = NULL;
  H2kDriverSource *source;

  *data = NULL;
  if (context->options.guest_agent)
    {
      *data = read_host_file (context->options.guest_agent, error);
      return *data != NULL;
    }
  if (has_service (context, "QEMU-GA"))
    return TRUE;
  source = h2k_windows_named_driver_source (context, &local);
  if (source)
    file = h2k_driver_source_guest_agent (source, context->guest->windows->version.arch);
  if (file)
    *data = h2k_driver_file_read (file, &local);
  if (!local)
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&local));
  return FALSE;
}

/* --- whether there is something to do --------------------------------------------------------- */

/* Whether the first boot that is over ran SCRIPT. */
static gboolean
was_run (const char *state, const Script *script)
{
  g_autofree char *end = g_strconcat (" ", script->name, "\r\n", NULL);

  return strstr (state, end) != NULL;
}

/* Whether something is new since the first boot that is over. */
static gboolean
has_news (H2kRepairContext *context, const GPtrArray *scripts, GBytes *agent, GBytes *restore)
{
  g_autofree char *path
      = g_build_filename (h2k_windows_first_boot_dir (context), "h2k-firstboot.state", NULL);
  g_autoptr (GBytes) data = h2k_tree_read_optional (context->guest->tree, path, MAX_STATE, NULL);
  gsize size = 0;
  const char *bytes = data ? g_bytes_get_data (data, &size) : "";
  g_autofree char *state = g_strndup (bytes, size);

  if (h2k_windows_needs_first_boot (context) || restore
      || (agent && !has_service (context, "QEMU-GA")))
    return TRUE;
  for (guint i = 0; i < scripts->len; i++)
    if (!was_run (state, scripts->pdata[i]))
      return TRUE;
  return FALSE;
}

static gboolean
is_needed (H2kRepairContext *context, const GPtrArray *scripts, GBytes *agent, GBytes *restore)
{
  if (h2k_windows_first_boot_is_over (context))
    return has_news (context, scripts, agent, restore);
  return h2k_windows_needs_first_boot (context) || scripts->len || agent || restore;
}

/* --- without the program ---------------------------------------------------------------------- */

/* Whether static addresses wait for the first boot. */
static gboolean
has_addresses (H2kRepairContext *context)
{
  g_autofree char *path
      = g_build_filename (h2k_windows_first_boot_dir (context), "data/network.ini", NULL);
  g_autoptr (GBytes) data = h2k_tree_read_optional (context->guest->tree, path, MAX_STATE, NULL);
  gsize size = 0;
  const char *text = data ? g_bytes_get_data (data, &size) : NULL;

  return text && g_strstr_len (text, (gssize)size, "\naddress=");
}

static gboolean
do_without (H2kRepairContext *context, GError **error)
{
  const char *arch = context->guest->arch;
  g_autofree char *dir = g_strdelimit (g_strdup (h2k_windows_first_boot_dir (context)), "/", '\\');
  g_autofree char *shown = h2k_escape_text (dir, -1);

  if (has_addresses (context))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_REPAIR,
                   "the static addresses of this Windows are moved to the new network adapters at "
                   "its first boot, and this build of hyper2kvm has no first-boot program for %s: "
                   "build it with a mingw-w64 compiler for %s, or leave the addresses out by "
                   "--no-fix-network",
                   arch, arch);
      return FALSE;
    }
  h2k_repair_warn (context,
                   "this build of hyper2kvm has no first-boot program for %s: when the VM runs, "
                   "install by hand what is below %s (drivers by \"pnputil /add-driver *.inf "
                   "/subdirs /install\") and remove the old hypervisor's programs",
                   arch, shown);
  return TRUE;
}

/* --- files ------------------------------------------------------------------------------------ */

static gboolean
put_file (H2kRepairContext *context, const char *name, GBytes *data, const char *summary,
          const char *reason, GError **error)
{
  return h2k_windows_first_boot_file (context, name, data, summary, reason, error);
}

/* What fails of these is told in the last line of the service's report. */
static gboolean
put_settings (H2kRepairContext *context, const GPtrArray *scripts, GError **error)
{
  g_autoptr (GString) text = g_string_new ("; Written by hyper2kvm.\r\n[firstboot]\r\n"
                                           "serial=COM1\r\n");
  g_autoptr (GBytes) data = NULL;

  if (has_addresses (context))
    g_string_append (text, "\r\n[020-network.cmd]\r\nrequired=1\r\n");
  for (guint i = 0; i < scripts->len; i++)
    g_string_append_printf (text, "\r\n[%s]\r\nrequired=1\r\n",
                            ((const Script *)scripts->pdata[i])->name);
  data = g_bytes_new (text->str, text->len);
  return put_file (context, "firstboot.ini", data, NULL, REASON, error);
}

static gboolean
put_scripts (H2kRepairContext *context, const GPtrArray *scripts, GError **error)
{
  const char *const *names = h2k_firstboot_scripts ();

  for (guint i = 0; names[i]; i++)
    {
      g_autofree char *path = g_strconcat ("scripts/", names[i], NULL);
      g_autoptr (GBytes) data = h2k_firstboot_script (names[i]);

      if (!put_file (context, path, data, "one of the standard scripts", REASON, error))
        return FALSE;
    }
  for (guint i = 0; i < scripts->len; i++)
    {
      const Script *script = scripts->pdata[i];
      g_autofree char *path = g_strconcat ("scripts/", script->name, NULL);

      if (!put_file (context, path, script->data, "given by --firstboot",
                     "it was asked to run at the first boot", error))
        return FALSE;
    }
  return TRUE;
}

/* What a .reg file in UTF-16 says; NULL: none. */
static char *
reg_text (GBytes *data)
{
  gsize size = 0;
  const char *bytes = data ? g_bytes_get_data (data, &size) : NULL;

  return size ? g_convert (bytes, (gssize)(size & ~(gsize)1), "UTF-8", "UTF-16LE", NULL, NULL, NULL)
              : NULL;
}

/* OLD, if it still waits for the first boot, with those sections of NEW that it does not have: what
 * an earlier run has saved is the original. */
static GBytes *
merge_restore (GBytes *old, GBytes *new)
{
  g_autofree char *have = reg_text (old), *text = reg_text (new);
  g_auto (GStrv) sections = NULL;
  g_autoptr (GString) out = NULL;
  gsize written = 0;
  char *wide;

  if (!have || !text)
    return g_bytes_ref (new);
  out = g_string_new (have);
  sections = g_strsplit (text, "\r\n[", -1);
  for (guint i = 1; sections[i]; i++)
    {
      const char *name = strstr (sections[i], "]\r\n");
      const char *equals = name ? strchr (name, '=') : NULL;
      g_autofree char *head = equals ? g_strndup (sections[i], equals - sections[i] + 1) : NULL;

      if (head && !strstr (have, head))
        g_string_append_printf (out, "\r\n[%s", sections[i]);
    }
  wide = g_convert (out->str, (gssize)out->len, "UTF-16LE", "UTF-8", NULL, &written, NULL);
  return wide ? g_bytes_new_take (wide, written) : g_bytes_ref (new);
}

static gboolean
put_restore (H2kRepairContext *context, GBytes *restore, GError **error)
{
  g_autofree char *path = g_build_filename (h2k_windows_first_boot_dir (context), RESTORE, NULL);
  g_autoptr (GBytes) old = NULL, merged = NULL;

  if (!restore)
    return TRUE;
  old = h2k_tree_read_optional (context->guest->tree, path, MAX_STATE, NULL);
  merged = merge_restore (old, restore);
  return put_file (context, RESTORE, merged,
                   "values of the registry that the first boot's end restores",
                   "they were changed for the first boot alone", error);
}

/* The state of a first boot that is over would keep scripts from running again. */
static gboolean
forget_earlier (H2kRepairContext *context, GError **error)
{
  g_autofree char *path
      = g_build_filename (h2k_windows_first_boot_dir (context), "h2k-firstboot.state", NULL);

  return !h2k_windows_first_boot_is_over (context)
         || h2k_repair_remove (context, path, "the first boot has something new to do", error);
}

static gboolean
put_files (H2kRepairContext *context, GBytes *program, const GPtrArray *scripts, GBytes *agent,
           GBytes *restore, GError **error)
{
  return forget_earlier (context, error)
         && put_file (context, PROGRAM, program, "the first-boot service", REASON, error)
         && put_settings (context, scripts, error) && put_scripts (context, scripts, error)
         && (!agent
             || put_file (context, AGENT, agent, "the installer of the QEMU guest agent",
                          "the guest agent lets the host freeze filesystems and shut down", error))
         && put_restore (context, restore, error);
}

/* --- registry --------------------------------------------------------------------------------- */

/* A path that the service manager understands, in quotes since it has blanks. */
static char *
image_path (H2kRepairContext *context)
{
  const H2kWindows *w = context->guest->windows;
  g_autofree char *path = g_build_filename (h2k_windows_first_boot_dir (context), PROGRAM, NULL);

  g_strdelimit (path, "/", '\\');
  return w->drive ? g_strdup_printf ("\"%c:%s\"", w->drive, path)
                  : g_strdup_printf ("\"%%SystemDrive%%%s\"", path);
}

static gboolean
install_service (H2kRepairContext *context, const char *set, GError **error)
{
  static const char *const depends[] = {"RpcSs", NULL};
  g_autofree char *key = g_strconcat (set, "\\Services\\" H2K_FIRST_BOOT_SERVICE, NULL);
  g_autofree char *image = image_path (context);
  H2kRegValue *values[] = {
      h2k_reg_dword ("Type", 0x10), /* a process of its own */
      h2k_reg_dword ("Start", 2),   /* automatic */
      h2k_reg_dword ("ErrorControl", 1),
      h2k_reg_string ("ImagePath", H2K_REG_EXPAND_SZ, image),
      h2k_reg_string ("DisplayName", H2K_REG_SZ, "hyper2kvm first boot"),
      h2k_reg_string ("Description", H2K_REG_SZ,
                      "Ends the migration to KVM at the first boot, then removes itself."),
      h2k_reg_string ("ObjectName", H2K_REG_SZ, "LocalSystem"),
      h2k_reg_strings ("DependOnService", depends), /* installers need it */
  };
  gboolean ok = TRUE;

  /* Each is taken over. */
  for (guint i = 0; i < G_N_ELEMENTS (values); i++)
    if (ok)
      ok = h2k_windows_set (context, H2K_HIVE_SYSTEM, key, values[i], REASON, error);
    else
      h2k_reg_value_free (values[i]);
  return ok
         && h2k_windows_remove_value (context, H2K_HIVE_SYSTEM, key, "DeleteFlag",
                                      "that of an earlier migration was marked for removal", error);
}

/* Windows since Vista leaves new disks offline that its SAN policy tells it to, which servers have
 * for disks on shared buses, and VirtIO SCSI counts as SAS. The policy is asked when a disk is
 * first seen, and in the second phase, after the first boot, the data disks are new once more: so
 * it stays. */
static gboolean
bring_disks_online (H2kRepairContext *context, const char *set, GError **error)
{
  const H2kWindows *w = context->guest->windows;
  H2kHive *hive = h2k_windows_hive (context, H2K_HIVE_SYSTEM, error);
  g_autofree char *key = g_strconcat (set, "\\Services\\partmgr\\Parameters", NULL);
  guint32 policy;

  if (!hive)
    return FALSE;
  if (context->guest->disks->len < 2 || !h2k_windows_is_at_least (w, 6, 0)
      || (!h2k_hive_get_dword (hive, key, "SanPolicy", &policy)
          && w->version.product == H2K_WINDOWS_CLIENT))
    return TRUE;
  return h2k_windows_set (context, H2K_HIVE_SYSTEM, key, h2k_reg_dword ("SanPolicy", 1),
                          "the data disks come online though their controller is a new one", error);
}

/* --- the repair ------------------------------------------------------------------------------- */

static gboolean
applies (H2kRepairContext *context)
{
  return TRUE;
}

static gboolean
run (H2kRepairContext *context, GError **error)
{
  const GPtrArray *sets = context->guest->windows->control_sets;
  g_autoptr (GPtrArray) scripts = read_scripts (context, error);
  g_autoptr (GBytes) agent = NULL, restore = NULL, program = NULL;

  if (!scripts || !read_agent (context, &agent, error))
    return FALSE;
  for (guint i = 0; i < sets->len; i++)
    if (!bring_disks_online (context, sets->pdata[i], error))
      return FALSE;
  restore = h2k_windows_restore_file (context);
  if (!is_needed (context, scripts, agent, restore))
    return TRUE;
  program = h2k_firstboot_program (context->guest->arch);
  if (!program)
    return do_without (context, error);
  if (!put_files (context, program, scripts, agent, restore, error))
    return FALSE;
  for (guint i = 0; i < sets->len; i++)
    if (!install_service (context, sets->pdata[i], error))
      return FALSE;
  return TRUE;
}

const H2kRepair h2k_repair_windows_first_boot = {
    .name = "windows-first-boot",
    .flag = H2K_REPAIR_FIRSTBOOT,
    .why = "what only a running Windows can do is done by a service at its first boot",
    .applies = applies,
    .run = run,
};
