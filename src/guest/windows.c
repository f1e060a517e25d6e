/* windows.c - reads what an installed Windows is from its registry.
 *
 * Follows Microsoft's documentation of the registry's entries; which of the control sets is loaded
 * is HKLM\SYSTEM\Select's to say.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/windows-private.h"
#include "guest/windows-store.h"

#include "drivers/pe.h"

#include <sys/stat.h>

#define MAX_ROOT_NAMES 4096u
#define MAX_PE_HEAD 65536u
#define CURRENT_VERSION "Microsoft\\Windows NT\\CurrentVersion"

/* --- finding ---------------------------------------------------------------------------------- */

static gboolean
is_file (H2kFs *fs, const char *path)
{
  H2kStat st;

  return fs->ops->lstat (fs, path, &st, NULL) && S_ISREG (st.mode) && st.size > 0;
}

static gboolean
holds_windows (H2kFs *fs, const char *root)
{
  g_autofree char *hive = g_strconcat (root, "/System32/config/SYSTEM", NULL);

  return is_file (fs, hive);
}

char *
h2k_windows_find_root (H2kFs *fs)
{
  static const char *const usual[] = {"/Windows", "/WINNT"};
  g_autoptr (GPtrArray) names = NULL;

  for (guint i = 0; i < G_N_ELEMENTS (usual); i++)
    if (holds_windows (fs, usual[i]))
      return g_strdup (usual[i]);
  names = fs->ops->list (fs, "/", NULL);
  for (guint i = 0; names && i < MIN (names->len, MAX_ROOT_NAMES); i++)
    {
      g_autofree char *path = g_strconcat ("/", (const char *)names->pdata[i], NULL);
      /* What an upgrade keeps of the system before it. */
      if (g_ascii_strncasecmp (path, "/Windows.old", 12) != 0 && holds_windows (fs, path))
        return g_steal_pointer (&path);
    }
  return NULL;
}

gboolean
h2k_guest_is_windows (const H2kGuestVolume *volume)
{
  static const char *const types[] = {"ntfs", "vfat", NULL};
  g_autofree char *root = volume->fs && g_strv_contains (types, volume->id.type)
                              ? h2k_windows_find_root (volume->fs)
                              : NULL;

  return root != NULL;
}

gboolean
h2k_windows_is_at_least (const H2kWindows *windows, guint major, guint minor)
{
  return windows->version.major > major
         || (windows->version.major == major && windows->version.minor >= minor);
}

/* --- freeing ---------------------------------------------------------------------------------- */

static void
nic_free (gpointer data)
{
  H2kWindowsNic *nic = data;

  g_free (nic->guid);
  g_free (nic->name);
  g_free (nic->device);
  g_free (nic->component);
  g_free (nic->service);
  g_free (nic->instance);
  g_free (nic->location);
  g_free (nic->mac);
  g_free (nic->class_key);
  g_strfreev (nic->addresses);
  g_strfreev (nic->masks);
  g_strfreev (nic->gateways);
  g_strfreev (nic->metrics);
  g_free (nic->dns);
  g_free (nic->domain);
  g_free (nic);
}

static void
tools_free (gpointer data)
{
  H2kWindowsTools *tools = data;

  g_free (tools->uninstall);
  g_ptr_array_unref (tools->services);
  g_free (tools);
}

static void
hive_free (gpointer data)
{
  H2kWindowsHive *hive = data;

  g_free (hive->path);
  g_free (hive->logs);
  g_free (hive);
}

void
h2k_windows_free (H2kWindows *w)
{
  if (!w)
    return;
  g_free (w->root);
  g_free (w->config);
  g_free (w->product_name);
  g_free (w->name);
  g_free (w->edition);
  g_free (w->installation);
  g_free (w->release);
  g_free (w->build_lab);
  g_free (w->hostname);
  g_free (w->control_set);
  g_ptr_array_unref (w->control_sets);
  g_ptr_array_unref (w->virtio);
  g_ptr_array_unref (w->nics);
  g_ptr_array_unref (w->tools);
  g_ptr_array_unref (w->hives);
  g_free (w->sysprep);
  g_free (w->bcd);
  h2k_boot_store_free (w->store);
  g_free (w->hal);
  g_free (w);
}

static H2kWindows *
windows_new (H2kFs *fs, char *root)
{
  H2kWindows *w = g_new0 (H2kWindows, 1);

  w->fs = fs;
  w->root = root;
  w->config = g_strconcat (root, "/System32/config", NULL);
  w->control_sets = g_ptr_array_new_with_free_func (g_free);
  w->virtio = g_ptr_array_new_with_free_func (g_free);
  w->nics = g_ptr_array_new_with_free_func (nic_free);
  w->tools = g_ptr_array_new_with_free_func (tools_free);
  w->hives = g_ptr_array_new_with_free_func (hive_free);
  w->version.product = H2K_WINDOWS_CLIENT;
  return w;
}

/* --- hives ------------------------------------------------------------------------------------ */

static void
note_hive (H2kGuest *guest, const char *path, const H2kHiveInfo *info)
{
  H2kWindowsHive *hive = g_new0 (H2kWindowsHive, 1);
  g_autoptr (GString) logs = g_string_new (NULL);

  for (guint i = 0; i < info->replayed->len; i++)
    g_string_append_printf (logs, "%s%s", i ? ", " : "", (char *)info->replayed->pdata[i]);
  hive->path = g_strdup (path);
  hive->minor = info->minor;
  hive->dirty = info->was_dirty;
  hive->size = info->size;
  if (logs->len)
    hive->logs = g_strdup (logs->str);
  for (guint i = 0; i < info->notes->len; i++)
    h2k_guest_warn (guest, "%s: %s", path, (char *)info->notes->pdata[i]);
  g_ptr_array_add (guest->windows->hives, hive);
}

static H2kHive *
open_hive (H2kGuest *guest, const char *name, const char *temp_dir, GError **error)
{
  const H2kWindows *w = guest->windows;
  g_autofree char *path = g_build_filename (w->config, name, NULL);
  H2kHive *hive = h2k_hive_open (w->fs, path, FALSE, temp_dir, error);

  if (!hive)
    g_prefix_error (error, "the registry of this Windows cannot be read: ");
  else
    note_hive (guest, path, h2k_hive_info (hive));
  return hive;
}

char *
h2k_windows_key (const H2kWindows *w, const char *path)
{
  return g_strconcat (w->control_set, "\\", path, NULL);
}

/* A text of a hive, as one line: with others it could look as if they were not the guest's. ""
 * when it is missing. */
char *
h2k_windows_text (H2kHive *hive, const char *key, const char *name)
{
  char *text = h2k_hive_get_string (hive, key, name);

  return text ? g_strstrip (g_strdelimit (text, "\r\n\t\v\f", ' ')) : g_strdup ("");
}

/* --- control sets ----------------------------------------------------------------------------- */

static gboolean
add_control_set (H2kWindows *w, H2kHive *system, guint32 number)
{
  g_autofree char *name = g_strdup_printf ("ControlSet%03u", number);

  if (number == 0 || number > 999 || !h2k_hive_has_key (system, name))
    return FALSE;
  if (!g_ptr_array_find_with_equal_func (w->control_sets, name, g_str_equal, NULL))
    g_ptr_array_add (w->control_sets, g_steal_pointer (&name));
  return TRUE;
}

/* Current is what was booted last, Default what will be; LastKnownGood is what F8 offers. */
static gboolean
read_control_sets (H2kWindows *w, H2kHive *system, GError **error)
{
  static const char *const names[] = {"Current", "Default", "LastKnownGood"};
  guint32 number;

  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    if (h2k_hive_get_dword (system, "Select", names[i], &number))
      add_control_set (w, system, number);
  for (number = 1; number < 10; number++)
    add_control_set (w, system, number);
  if (w->control_sets->len == 0)
    {
      g_set_error_literal (error, H2K_ERROR, H2K_ERROR_FORMAT,
                           "the registry's SYSTEM hive has no control set that could boot");
      return FALSE;
    }
  w->control_set = g_strdup (w->control_sets->pdata[0]);
  return TRUE;
}

/* --- versions --------------------------------------------------------------------------------- */

static guint
number_of (const char *text)
{
  return (guint)MIN (g_ascii_strtoull (text, NULL, 10), 999999);
}

static void
read_version (H2kWindows *w, H2kHive *software)
{
  static const char *const build_names[] = {"CurrentBuildNumber", "CurrentBuild"};
  guint32 major, minor = 0, revision = 0;

  for (guint i = 0; i < G_N_ELEMENTS (build_names) && !w->version.build; i++)
    {
      g_autofree char *build = h2k_windows_text (software, CURRENT_VERSION, build_names[i]);
      w->version.build = number_of (build);
    }
  if (h2k_hive_get_dword (software, CURRENT_VERSION, "CurrentMajorVersionNumber", &major))
    {
      h2k_hive_get_dword (software, CURRENT_VERSION, "CurrentMinorVersionNumber", &minor);
      w->version.major = major;
      w->version.minor = minor;
    }
  else
    {
      g_autofree char *version = h2k_windows_text (software, CURRENT_VERSION, "CurrentVersion");
      const char *dot = strchr (version, '.');

      w->version.major = number_of (version);
      w->version.minor = dot ? number_of (dot + 1) : 0;
    }
  if (h2k_hive_get_dword (software, CURRENT_VERSION, "UBR", &revision))
    w->revision = revision;
}

/* Windows 11 still calls itself 10 there. */
static char *
name_of (const H2kWindows *w)
{
  const char *name = w->product_name;

  if (g_str_has_prefix (name, "Microsoft "))
    name += strlen ("Microsoft ");
  if (w->version.product == H2K_WINDOWS_CLIENT && w->version.build >= 22000
      && g_str_has_prefix (name, "Windows 10"))
    return g_strconcat ("Windows 11", name + strlen ("Windows 10"), NULL);
  return *name ? g_strdup (name) : g_strdup ("Windows");
}

static void
read_product (H2kWindows *w, H2kHive *system, H2kHive *software)
{
  g_autofree char *key = h2k_windows_key (w, "Control\\ProductOptions");
  g_autofree char *type = h2k_windows_text (system, key, "ProductType");

  w->product_name = h2k_windows_text (software, CURRENT_VERSION, "ProductName");
  w->edition = h2k_windows_text (software, CURRENT_VERSION, "EditionID");
  w->installation = h2k_windows_text (software, CURRENT_VERSION, "InstallationType");
  w->build_lab = h2k_windows_text (software, CURRENT_VERSION, "BuildLabEx");
  if (!*w->build_lab)
    {
      g_free (w->build_lab);
      w->build_lab = h2k_windows_text (software, CURRENT_VERSION, "BuildLab");
    }
  w->release = h2k_windows_text (software, CURRENT_VERSION, "DisplayVersion");
  if (!*w->release)
    {
      g_free (w->release);
      w->release = h2k_windows_text (software, CURRENT_VERSION,
                                     w->version.major >= 10 ? "ReleaseId" : "CSDVersion");
    }
  if (g_ascii_strcasecmp (type, "LanmanNT") == 0)
    w->version.product = H2K_WINDOWS_DOMAIN_CONTROLLER;
  else if (g_ascii_strcasecmp (type, "ServerNT") == 0
           || (!*type && g_ascii_strncasecmp (w->installation, "Server", 6) == 0))
    w->version.product = H2K_WINDOWS_SERVER;
  w->name = name_of (w);
}

/* --- architecture ----------------------------------------------------------------------------- */

static const struct
{
  const char *word; /* PROCESSOR_ARCHITECTURE */
  H2kWindowsArch arch;
  const char *name; /* the guest's */
} arches[] = {
    {"AMD64", H2K_WINDOWS_AMD64, "x86_64"},
    {"x86", H2K_WINDOWS_X86, "i686"},
    {"ARM64", H2K_WINDOWS_ARM64, "aarch64"},
};

/* The kernel is what runs; the registry is asked where it cannot be read (it is compressed). */
static gboolean
find_arch (H2kGuest *guest, H2kHive *system, GError **error)
{
  H2kWindows *w = guest->windows;
  g_autofree char *kernel = g_build_filename (w->root, "System32", "ntoskrnl.exe", NULL);
  g_autofree char *key = h2k_windows_key (w, "Control\\Session Manager\\Environment");
  g_autofree char *word = h2k_windows_text (system, key, "PROCESSOR_ARCHITECTURE");
  g_autoptr (GBytes) head = w->fs->ops->read (w->fs, kernel, 0, MAX_PE_HEAD, NULL);
  H2kPe pe = {0};

  if (head)
    h2k_pe_parse (g_bytes_get_data (head, NULL), g_bytes_get_size (head), kernel, &pe, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (arches); i++)
    if (pe.has_arch ? pe.arch == arches[i].arch : g_ascii_strcasecmp (word, arches[i].word) == 0)
      {
        w->version.arch = arches[i].arch;
        guest->arch = g_strdup (arches[i].name);
        return TRUE;
      }
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s: neither the kernel nor the registry says which processor this Windows is for",
               w->root);
  return FALSE;
}

/* --- names ------------------------------------------------------------------------------------ */

/* MountedDevices: the disk's signature and the partition's place (MBR), or its GUID (GPT). */
static gboolean
is_device_of (const H2kRegValue *value, const guint8 *signature, guint64 offset, const guint8 *guid)
{
  gsize size;
  const guint8 *data = g_bytes_get_data (value->data, &size);

  if (guid)
    return size == 24 && memcmp (data, "DMIO:ID:", 8) == 0 && memcmp (data + 8, guid, 16) == 0;
  return size == 12 && memcmp (data, signature, 4) == 0 && h2k_le64 (data + 4) == offset;
}

gboolean
h2k_windows_parse_guid (const char *text, guint8 guid[16])
{
  static const guint8 order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
  guint n = 0;

  text += *text == '{';
  for (; n < 16; n++)
    {
      int high, low;
      if (*text == '-')
        text++;
      high = g_ascii_xdigit_value (text[0]);
      low = high < 0 ? -1 : g_ascii_xdigit_value (text[1]);
      if (low < 0)
        return FALSE;
      guid[order[n]] = (guint8)(high << 4 | low);
      text += 2;
    }
  return *text == '\0' || *text == '}';
}

static char
drive_of (H2kGuest *guest, const H2kGuestVolume *volume, H2kHive *system)
{
  g_autoptr (GPtrArray) values = h2k_hive_list_values (system, "MountedDevices");
  const H2kTable *table = guest->tables->pdata[volume->disk];
  guint8 guid[16], signature[4] = {0};
  const H2kVolume *part = h2k_windows_partition (volume);
  gboolean gpt = table->type == H2K_TABLE_GPT;

  if (gpt && (!part->part_uuid || !h2k_windows_parse_guid (part->part_uuid, guid)))
    return '\0';
  if (!gpt && table->disk_id)
    {
      guint32 number = GUINT32_TO_LE ((guint32)g_ascii_strtoull (table->disk_id, NULL, 16));
      memcpy (signature, &number, sizeof number);
    }
  for (guint i = 0; values && i < values->len; i++)
    {
      const H2kRegValue *value = values->pdata[i];
      const char *letter = value->name + strlen ("\\DosDevices\\");

      if (g_ascii_strncasecmp (value->name, "\\DosDevices\\", 12) == 0
          && g_ascii_isalpha (letter[0]) && letter[1] == ':' && letter[2] == '\0'
          && is_device_of (value, signature, part->offset, gpt ? guid : NULL))
        return g_ascii_toupper (letter[0]);
    }
  return '\0';
}

/* The other volumes by their letters, "/D:": no file of Windows can have such a name. */
static void
mount_drives (H2kGuest *guest, H2kHive *system)
{
  for (guint i = 0; i < guest->volumes->len; i++)
    {
      H2kGuestVolume *volume = guest->volumes->pdata[i];
      char letter = volume->fs && !volume->mountpoint ? drive_of (guest, volume, system) : '\0';

      if (!letter)
        continue;
      volume->mountpoint = g_strdup_printf ("/%c:", letter);
      h2k_tree_mount (guest->tree, volume->mountpoint, volume->fs);
    }
}

static void
read_names (H2kGuest *guest, H2kHive *system, H2kHive *software)
{
  H2kWindows *w = guest->windows;
  g_autofree char *key = h2k_windows_key (w, "Control\\ComputerName\\ComputerName");
  g_autofree char *root = h2k_windows_text (software, CURRENT_VERSION, "SystemRoot");

  w->hostname = h2k_windows_text (system, key, "ComputerName");
  w->drive = drive_of (guest, guest->root, system);
  if (!w->drive && g_ascii_isalpha (root[0]) && root[1] == ':')
    w->drive = g_ascii_toupper (root[0]);
}

/* --- all -------------------------------------------------------------------------------------- */

static void
read_clock (H2kWindows *w, H2kHive *system)
{
  g_autofree char *key = h2k_windows_key (w, "Control\\TimeZoneInformation");
  guint32 number;

  w->real_time_is_universal
      = h2k_hive_get_dword (system, key, "RealTimeIsUniversal", &number) && number;
}

/* The fields that every guest has. */
static void
fill_guest (H2kGuest *guest)
{
  const H2kWindows *w = guest->windows;

  guest->distro = g_strdup ("windows");
  guest->distro_like = g_strdup ("");
  guest->version
      = g_strdup_printf ("%u.%u.%u", w->version.major, w->version.minor, w->version.build);
  guest->pretty_name = *w->release && w->version.major < 10
                           ? g_strdup_printf ("%s %s", w->name, w->release)
                           : g_strdup (w->name);
  guest->hostname = g_strdup (w->hostname);
  guest->machine_id = g_strdup ("");
  guest->initramfs = H2K_INITRAMFS_NONE;
  for (guint i = 0; i < w->tools->len; i++)
    g_ptr_array_add (guest->vmware_tools,
                     g_strdup (((H2kWindowsTools *)w->tools->pdata[i])->product));
}

gboolean
h2k_guest_identify_windows (H2kGuest *guest, const char *temp_dir, GError **error)
{
  char *root = h2k_windows_find_root (guest->root->fs);
  g_autoptr (H2kHive) system = NULL;
  g_autoptr (H2kHive) software = NULL;
  H2kWindows *w;

  g_return_val_if_fail (root != NULL, FALSE);
  guest->windows = w = windows_new (guest->root->fs, root);
  system = open_hive (guest, "SYSTEM", temp_dir, error);
  software = system ? open_hive (guest, "SOFTWARE", temp_dir, error) : NULL;
  if (!software || !read_control_sets (w, system, error) || !find_arch (guest, system, error))
    return FALSE;
  read_version (w, software);
  read_product (w, system, software);
  read_names (guest, system, software);
  read_clock (w, system);
  h2k_windows_read_devices (w, system);
  h2k_windows_read_tools (w, system, software);
  h2k_windows_read_state (guest, system, software);
  h2k_windows_read_hal (w, system);
  h2k_windows_find_boot (guest, temp_dir);
  mount_drives (guest, system);
  fill_guest (guest);
  return TRUE;
}
