/* boot.c - whether a disk can be started by BIOS, by UEFI, or both.
 *
 * BIOS: the boot code in the first sector and what it needs. GRUB's is followed to where its core
 * lies; that of others starts the active partition. UEFI: a loader on an EFI system partition,
 * under the name that firmware looks for or in a vendor's folder (UEFI 2.10, 3.5.1.1 and 13.3.3).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/discover/discover.h"

enum
{
  SECTOR = 512,
  CODE_SIZE = 440,      /* of the boot code in a master boot record */
  GRUB_SECTOR_AT = 92,  /* where GRUB's has the first sector of its core */
  MAX_ENTRY = 64 << 10, /* a boot loader's entry */
  MAX_NAMES = 256,      /* folders and entries that are looked at */
};

/* --- BIOS ------------------------------------------------------------------------------------- */

static gboolean
is_blank (H2kDisk *disk, guint64 offset)
{
  guint8 sector[SECTOR];

  return offset > disk->size - MIN (disk->size, SECTOR)
         || !h2k_disk_pread (disk, offset, sizeof sector, sector, NULL)
         || h2k_is_zero (sector, sizeof sector);
}

/* Whether CODE is GRUB's, which starts with its core, wherever that is. */
static gboolean
is_grub (const guint8 *code)
{
  return memmem (code, CODE_SIZE, "GRUB", 4) != NULL;
}

/* The partition that other boot code starts; NULL: none. */
static const H2kVolume *
active_partition (const H2kTable *table)
{
  for (guint i = 0; i < table->volumes->len; i++)
    {
      const H2kVolume *volume = table->volumes->pdata[i];
      guint8 sector[SECTOR];
      if (volume->active && volume->disk && volume->disk->size >= SECTOR
          && h2k_disk_pread (volume->disk, 0, SECTOR, sector, NULL)
          && h2k_le16 (sector + 510) == 0xaa55 && !h2k_is_zero (sector, 510))
        return volume;
    }
  return NULL;
}

/* How BIOS starts DISK, for people; NULL: it cannot. The caller's. */
static char *
how_bios (H2kDisk *disk, const H2kTable *table)
{
  guint8 sector[SECTOR];
  const H2kVolume *active;

  if (disk->size < SECTOR || !h2k_disk_pread (disk, 0, sizeof sector, sector, NULL)
      || h2k_le16 (sector + 510) != 0xaa55 || h2k_is_zero (sector, CODE_SIZE))
    return NULL;
  if (is_grub (sector))
    {
      guint64 core = h2k_le64 (sector + GRUB_SECTOR_AT);
      return core < disk->size / SECTOR && !is_blank (disk, core * SECTOR)
                 ? g_strdup ("GRUB in the boot sector")
                 : NULL;
    }
  if (table->type == H2K_TABLE_NONE)
    return g_strdup ("boot code in the first sector");
  active = active_partition (table);
  return active ? g_strdup_printf ("boot code and the active partition %u", active->number) : NULL;
}

/* --- UEFI ------------------------------------------------------------------------------------- */

/* What firmware starts when nothing else is set, by architecture. */
static const char *const default_loaders[]
    = {"/EFI/BOOT/BOOTX64.EFI", "/EFI/BOOT/BOOTAA64.EFI", "/EFI/BOOT/BOOTIA32.EFI",
       "/EFI/BOOT/BOOTRISCV64.EFI"};

/* Whose loader is in the folder of that name. */
static const struct
{
  const char *folder, *name, *distro;
} vendors[] = {
    {"proxmox", "Proxmox VE", "debian"},
    {"Microsoft", "Windows", "windows"},
    {"debian", "Debian", "debian"},
    {"ubuntu", "Ubuntu", "ubuntu"},
    {"redhat", "Red Hat Enterprise Linux", "rhel"},
    {"rocky", "Rocky Linux", "rocky"},
    {"almalinux", "AlmaLinux", "almalinux"},
    {"centos", "CentOS", "centos"},
    {"fedora", "Fedora", "fedora"},
    {"opensuse", "openSUSE", "opensuse"},
    {"sles", "SUSE Linux Enterprise Server", "sles"},
    {"arch", "Arch Linux", "arch"},
    {"kali", "Kali Linux", "kali"},
    {"pop", "Pop!_OS", "pop"},
};

/* The first file in the folders of /EFI that is a program; NULL: none. The caller's. */
static char *
find_vendor_loader (H2kTree *tree)
{
  g_autoptr (GPtrArray) folders = h2k_tree_list (tree, "/EFI");

  for (guint i = 0; i < MIN (folders->len, MAX_NAMES); i++)
    {
      g_autofree char *folder = g_strconcat ("/EFI/", folders->pdata[i], NULL);
      g_autofree char *windows = g_strconcat (folder, "/Boot/bootmgfw.efi", NULL);
      g_autoptr (GPtrArray) files = h2k_tree_list (tree, folder);
      if (h2k_tree_is_file (tree, windows))
        return g_steal_pointer (&windows);
      for (guint k = 0; k < MIN (files->len, MAX_NAMES); k++)
        {
          const char *name = files->pdata[k];
          gsize length = strlen (name);
          if (length > 4 && g_ascii_strcasecmp (name + length - 4, ".efi") == 0)
            return g_strconcat (folder, "/", name, NULL);
        }
    }
  return NULL;
}

static char *
find_loader (H2kTree *tree)
{
  for (gsize i = 0; i < G_N_ELEMENTS (default_loaders); i++)
    if (h2k_tree_is_file (tree, default_loaders[i]))
      return g_strdup (default_loaders[i]);
  return find_vendor_loader (tree);
}

/* The value of the line "KEY value" of an entry ("Boot Loader Specification"). The caller's. */
static char *
entry_value (GBytes *entry, const char *key)
{
  g_autoptr (H2kLines) lines = h2k_lines_new (entry);
  gsize length = strlen (key);

  for (guint i = 0; i < h2k_lines_count (lines); i++)
    {
      const char *line = h2k_lines_get (lines, i);
      if (g_str_has_prefix (line, key) && g_ascii_isspace (line[length]))
        return g_strstrip (g_strdup (line + length));
    }
  return NULL;
}

/* What the loader's own entries call the system: those of systemd-boot, as proxmox-boot-tool keeps
 * them for roots on ZFS. */
static gboolean
hint_of_entries (JsonObject *hint, H2kTree *tree)
{
  g_autoptr (GPtrArray) paths = h2k_tree_glob (tree, "/loader/entries/*.conf");

  for (guint i = MIN (paths->len, MAX_NAMES); i-- > 0;)
    {
      g_autoptr (GBytes) entry = h2k_tree_read_optional (tree, paths->pdata[i], MAX_ENTRY, NULL);
      g_autofree char *title = entry ? entry_value (entry, "title") : NULL;
      g_autofree char *kernel = entry ? entry_value (entry, "version") : NULL;
      if (!title)
        continue;
      discover_set_text (hint, "name", title);
      discover_set_text (hint, "kernel", kernel);
      return TRUE;
    }
  return FALSE;
}

static gboolean
hint_of_vendor (JsonObject *hint, H2kTree *tree)
{
  for (gsize i = 0; i < G_N_ELEMENTS (vendors); i++)
    {
      g_autofree char *folder = g_strconcat ("/EFI/", vendors[i].folder, NULL);
      if (!h2k_tree_is_dir (tree, folder))
        continue;
      if (!discover_text (hint, "name"))
        discover_set_text (hint, "name", vendors[i].name);
      discover_set_text (hint, "distro", vendors[i].distro);
      return TRUE;
    }
  return FALSE;
}

/* What system is started from the partition that TREE shows. */
static void
add_hint (JsonObject *disk, H2kTree *tree)
{
  JsonObject *hint = json_object_new ();
  gboolean named = hint_of_entries (hint, tree);

  named |= hint_of_vendor (hint, tree);
  if (named && !discover_object (disk, "loader_hint"))
    json_object_set_object_member (disk, "loader_hint", json_object_ref (hint));
  json_object_unref (hint);
}

/* The loader on VOLUME; NULL: none. The caller's. */
static char *
look_at_esp (JsonObject *disk, const H2kVolume *volume)
{
  g_autoptr (H2kFs) fs = h2k_fs_open (volume->disk, NULL);
  g_autoptr (H2kTree) tree = NULL;
  char *loader;

  if (!fs)
    return NULL;
  tree = h2k_tree_new ();
  h2k_tree_mount (tree, "/", fs);
  loader = find_loader (tree);
  if (loader)
    add_hint (disk, tree);
  return loader;
}

/* The same on one of the partitions of TABLE, for people; NULL: there is none. */
static char *
how_uefi (JsonObject *disk, const H2kTable *table)
{
  for (guint i = 0; i < table->volumes->len; i++)
    {
      const H2kVolume *volume = table->volumes->pdata[i];
      g_autofree char *loader = NULL;
      if (!volume->disk || !g_str_equal (h2k_volume_role (volume), "esp"))
        continue;
      loader = look_at_esp (disk, volume);
      if (loader)
        return g_strdup_printf ("%s on partition %u", loader, volume->number);
    }
  return NULL;
}

void
discover_boot (JsonObject *disk, H2kDisk *first, const H2kStack *stack)
{
  const H2kTable *table = stack->tables->pdata[0];
  g_autofree char *bios = how_bios (first, table), *uefi = how_uefi (disk, table);

  json_object_set_string_member (disk, "firmware",
                                 bios && uefi ? "both"
                                 : bios       ? "bios"
                                 : uefi       ? "uefi"
                                              : "none");
  discover_set_text (disk, "bios", bios);
  discover_set_text (disk, "uefi", uefi);
}
