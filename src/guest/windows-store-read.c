/* windows-store-read.c - the boot configuration of a Windows, for the inspection: which systems it
 * offers, and what keeps this one from starting.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/windows-private.h"
#include "guest/windows-store.h"

static void
entry_free (gpointer data)
{
  H2kBootEntry *entry = data;

  g_free (entry->id);
  g_free (entry->description);
  g_free (entry->path);
  g_free (entry->root);
  g_free (entry->device);
  g_free (entry);
}

void
h2k_boot_store_free (H2kBootStore *store)
{
  if (!store)
    return;
  g_free (store->path);
  g_free (store->default_entry);
  g_ptr_array_unref (store->entries);
  g_ptr_array_unref (store->problems);
  g_free (store);
}

static H2kBootStore *
store_new (const char *path)
{
  H2kBootStore *store = g_new0 (H2kBootStore, 1);

  store->path = g_strdup (path);
  store->timeout = -1;
  store->entries = g_ptr_array_new_with_free_func (entry_free);
  store->problems = g_ptr_array_new_with_free_func (g_free);
  return store;
}

static void G_GNUC_PRINTF (2, 3) add_problem (H2kBootStore *store, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_ptr_array_add (store->problems, h2k_escape_text (text, -1));
}

/* --- BCD -------------------------------------------------------------------------------------- */

static const struct
{
  H2kLoaderFaults fault;
  const char *text;
} faults_text[] = {
    {H2K_LOADER_DEVICE, "its device (%s) does not lead to the loader"},
    {H2K_LOADER_OS_DEVICE, "its system device (%s) does not lead to Windows"},
    {H2K_LOADER_PATH, "its loader (%s) is missing or for another firmware"},
    {H2K_LOADER_ROOT, "its system root (%s) is not where Windows is"},
};

static void
add_faults (H2kBootStore *store, const H2kBcdObject *object, const H2kBootEntry *entry,
            H2kLoaderFaults faults)
{
  H2kBcdDevice device = h2k_bcd_device (object, H2K_BCD_DEVICE);
  g_autofree char *program = h2k_bcd_device_to_text (&device);
  const char *const values[] = {program, entry->device, entry->path, entry->root};

  for (guint i = 0; i < G_N_ELEMENTS (faults_text); i++)
    if (faults & faults_text[i].fault)
      {
        GString *text = g_string_new (faults_text[i].text);

        g_string_replace (text, "%s", values[i] ? values[i] : "none", 1);
        add_problem (store, "entry %s: %s", object->id, text->str);
        g_string_free (text, TRUE);
      }
}

static void
add_loader (const H2kGuest *guest, H2kBootStore *store, const H2kBcdObject *object)
{
  H2kBootEntry *entry = g_new0 (H2kBootEntry, 1);
  H2kBcdDevice device = h2k_bcd_device (object, H2K_BCD_OS_DEVICE);
  H2kLoaderFaults faults = 0;
  gboolean ours = h2k_windows_judge_loader (guest, object, &faults) == H2K_LOADER_OURS;

  entry->id = g_strdup (object->id);
  entry->description = h2k_bcd_text (object, H2K_BCD_DESCRIPTION);
  entry->path = h2k_bcd_text (object, H2K_BCD_PATH);
  entry->root = h2k_bcd_text (object, H2K_BCD_SYSTEM_ROOT);
  entry->device = h2k_bcd_device_to_text (&device);
  entry->is_default
      = store->default_entry && g_ascii_strcasecmp (store->default_entry, object->id) == 0;
  entry->leads_to_system = ours && faults == 0;
  g_ptr_array_add (store->entries, entry);
  if (ours)
    add_faults (store, object, entry, faults);
}

static void
read_manager (H2kBootStore *store, const H2kBcd *bcd, const H2kBcdObject *manager)
{
  g_auto (GStrv) sequence = h2k_bcd_objects (manager, H2K_BCD_BOOT_SEQUENCE);
  guint64 timeout;

  store->default_entry = h2k_bcd_text (manager, H2K_BCD_DEFAULT);
  if (h2k_bcd_number (manager, H2K_BCD_TIMEOUT, &timeout))
    store->timeout = (gint64)MIN (timeout, G_MAXINT32);
  store->ems = h2k_bcd_is_set (bcd, manager, H2K_BCD_BOOT_EMS);
  if (!store->default_entry)
    add_problem (store, "the boot manager has no default entry");
  else if (!h2k_bcd_find (bcd, store->default_entry))
    add_problem (store, "the boot manager's default entry %s is missing", store->default_entry);
  if (sequence && sequence[0])
    add_problem (store, "the next start is to be another one (%s)", sequence[0]);
}

/* What the entry that is started says beyond where it leads. */
static void
read_settings (H2kBootStore *store, const H2kBcd *bcd)
{
  const H2kBcdObject *loader = h2k_bcd_find (bcd, store->default_entry);
  guint64 number;

  if (!loader)
    return;
  store->ems |= h2k_bcd_is_set (bcd, loader, H2K_BCD_EMS);
  store->graphics_mode_disabled = h2k_bcd_is_set (bcd, loader, H2K_BCD_GRAPHICS_DISABLED);
  if (h2k_bcd_number (loader, H2K_BCD_SAFE_BOOT, &number))
    add_problem (store, "the default entry starts Windows in safe mode");
  if (h2k_bcd_is_set (bcd, loader, H2K_BCD_KERNEL_DEBUG))
    add_problem (store, "the default entry has the kernel debugger on");
}

static void
read_bcd (H2kGuest *guest, H2kBootStore *store, const char *temp_dir)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kHive) hive = h2k_windows_open_store (guest, FALSE, temp_dir, &error);
  g_autoptr (H2kBcd) bcd = hive ? h2k_bcd_read (hive, &error) : NULL;
  const H2kBcdObject *manager = bcd ? h2k_bcd_find (bcd, H2K_BCD_BOOTMGR) : NULL;

  if (!bcd)
    {
      add_problem (store, "%s", error->message);
      return;
    }
  if (manager)
    read_manager (store, bcd, manager);
  else
    add_problem (store, "there is no boot manager in it");
  for (guint i = 0; i < bcd->objects->len; i++)
    if (((H2kBcdObject *)bcd->objects->pdata[i])->type == H2K_BCD_TYPE_LOADER)
      add_loader (guest, store, bcd->objects->pdata[i]);
  read_settings (store, bcd);
}

/* --- boot.ini --------------------------------------------------------------------------------- */

static void
add_ini_entry (const H2kGuest *guest, H2kBootStore *store, const H2kBootIni *ini, guint number)
{
  const H2kBootIniEntry *from = ini->entries->pdata[number];
  H2kBootEntry *entry = g_new0 (H2kBootEntry, 1);
  const char *dir = strchr (from->path, '\\');

  entry->id = g_strdup (from->path);
  entry->description = g_strdup (from->title);
  entry->root = dir ? g_strdup (dir) : NULL;
  entry->device = g_strndup (from->path, dir ? (gsize)(dir - from->path) : strlen (from->path));
  /* Without a default, ntldr takes the first. */
  entry->is_default
      = ini->default_path ? g_ascii_strcasecmp (ini->default_path, from->path) == 0 : number == 0;
  entry->leads_to_system = h2k_windows_arc_is_system (guest, from->path);
  g_ptr_array_add (store->entries, entry);
}

static void
read_ini (H2kGuest *guest, H2kBootStore *store)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) data = h2k_tree_read (guest->tree, store->path, H2K_BOOT_INI_MAX, &error);
  g_autoptr (H2kBootIni) ini = data ? h2k_boot_ini_parse (data) : NULL;

  if (!ini)
    {
      add_problem (store, "%s: %s", store->path,
                   error ? error->message : "is damaged or has no systems");
      return;
    }
  store->default_entry = g_strdup (ini->default_path);
  store->timeout = ini->timeout < 0 ? -1 : MIN (ini->timeout, G_MAXINT32);
  for (guint i = 0; i < ini->entries->len; i++)
    add_ini_entry (guest, store, ini, i);
  if (!ini->default_path)
    add_problem (store, "it has no default");
  else if (!h2k_windows_arc_is_system (guest, ini->default_path))
    add_problem (store, "its default (%s) does not lead to Windows", ini->default_path);
}

void
h2k_windows_read_store (H2kGuest *guest, const char *temp_dir)
{
  H2kWindows *w = guest->windows;

  w->store = store_new (w->bcd);
  if (guest->bootloader == H2K_BOOTLOADER_NTLDR)
    read_ini (guest, w->store);
  else
    read_bcd (guest, w->store, temp_dir);
}
