/* identify.c - what the mounted system is: os-release(5) and its predecessors, the ELF header of
 * its shell, its kernels, bootloader, initramfs generator, init and network stacks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/private.h"

#include <elf.h>

#define MAX_TEXT (256 * 1024) /* configuration files larger than this are not looked at */
#define MAX_VALUE 256         /* characters of a name that is shown */

/* --- small texts ------------------------------------------------------------------------------ */

char *
h2k_shell_value (const char *text)
{
  GString *out = g_string_new (NULL);
  char quote = '\0';

  for (; *text; text++)
    if (quote ? *text == quote : (*text == '"' || *text == '\''))
      quote = quote ? '\0' : *text;
    else if (!quote && (g_ascii_isspace (*text) || *text == ';'))
      break;
    else if (*text == '\\' && quote != '\'' && text[1] && (!quote || strchr ("\"\\$`", text[1])))
      g_string_append_c (out, *++text);
    else
      g_string_append_c (out, *text);
  return g_string_free (out, FALSE);
}

/* TEXT safe and short enough to show. */
static char *
shown (const char *text)
{
  g_autofree char *cut = g_strndup (text, MAX_VALUE);
  char *safe = h2k_escape_text (cut, -1);

  return g_strdelimit (g_strstrip (safe), "\n\t", ' ');
}

static H2kLines *
read_lines (H2kTree *tree, const char *path)
{
  g_autoptr (GBytes) data = h2k_tree_read_optional (tree, path, MAX_TEXT, NULL);

  return data ? h2k_lines_new (data) : NULL;
}

/* The first line that is neither empty nor a comment; NULL: none. */
static char *
first_line (H2kTree *tree, const char *path)
{
  g_autoptr (H2kLines) lines = read_lines (tree, path);

  for (guint i = 0; lines && i < h2k_lines_count (lines); i++)
    {
      g_autofree char *line = shown (h2k_lines_get (lines, i));
      if (*line && *line != '#')
        return g_steal_pointer (&line);
    }
  return NULL;
}

/* The last assignment of KEY in a file of shell assignments; NULL: none. */
static char *
assignment (H2kTree *tree, const char *path, const char *key)
{
  g_autoptr (H2kLines) lines = read_lines (tree, path);

  for (guint i = lines ? h2k_lines_count (lines) : 0; i > 0; i--)
    {
      const char *line = h2k_lines_get (lines, i - 1);
      gsize n = strlen (key);

      line += strspn (line, " \t");
      if (strncmp (line, key, n) == 0 && line[n] == '=')
        {
          g_autofree char *value = h2k_shell_value (line + n + 1);
          return shown (value);
        }
    }
  return NULL;
}

static gboolean
any_exists (H2kTree *tree, const char *const *paths)
{
  for (; *paths; paths++)
    if (h2k_tree_exists (tree, *paths))
      return TRUE;
  return FALSE;
}

static gboolean
any_match (H2kTree *tree, const char *pattern)
{
  g_autoptr (GPtrArray) paths = h2k_tree_glob (tree, pattern);

  return paths->len > 0;
}

/* --- distribution ----------------------------------------------------------------------------- */

/* What systems said before os-release. */
static const struct
{
  const char *path;
  const char *contains; /* NULL: anything */
  const char *id, *like;
} releases[] = {
    {"/etc/centos-release", NULL, "centos", "rhel fedora"},
    {"/etc/oracle-release", NULL, "ol", "fedora"},
    {"/etc/fedora-release", NULL, "fedora", ""},
    {"/etc/redhat-release", "CentOS", "centos", "rhel fedora"},
    {"/etc/redhat-release", "Red Hat", "rhel", "fedora"},
    {"/etc/redhat-release", "Scientific", "scientific", "rhel fedora"},
    {"/etc/redhat-release", NULL, "rhel", "fedora"},
    {"/etc/system-release", "Amazon", "amzn", "rhel fedora"},
    {"/etc/SuSE-release", "openSUSE", "opensuse", "suse"},
    {"/etc/SuSE-release", NULL, "sles", "suse"},
    {"/etc/alpine-release", NULL, "alpine", ""},
    {"/etc/arch-release", NULL, "arch", ""},
    {"/etc/gentoo-release", NULL, "gentoo", ""},
    {"/etc/slackware-version", NULL, "slackware", ""},
    {"/etc/debian_version", NULL, "debian", ""},
};

/* The first number with dots in TEXT: "CentOS release 6.10 (Final)" has 6.10. */
static char *
version_in (const char *text)
{
  const char *start = strpbrk (text, "0123456789");

  return start ? g_strndup (start, strspn (start, "0123456789.")) : g_strdup ("");
}

static gboolean
identify_by_os_release (H2kGuest *guest)
{
  static const char *const paths[] = {"/etc/os-release", "/usr/lib/os-release"};

  for (guint i = 0; i < G_N_ELEMENTS (paths); i++)
    {
      if (!h2k_tree_is_file (guest->tree, paths[i]))
        continue;
      guest->distro = assignment (guest->tree, paths[i], "ID");
      guest->distro_like = assignment (guest->tree, paths[i], "ID_LIKE");
      guest->version = assignment (guest->tree, paths[i], "VERSION_ID");
      guest->pretty_name = assignment (guest->tree, paths[i], "PRETTY_NAME");
      if (!guest->pretty_name)
        guest->pretty_name = assignment (guest->tree, paths[i], "NAME");
      return guest->distro != NULL;
    }
  return FALSE;
}

/* Ubuntu before 12.04. */
static gboolean
identify_by_lsb (H2kGuest *guest)
{
  char *id = assignment (guest->tree, "/etc/lsb-release", "DISTRIB_ID");

  if (!id)
    return FALSE;
  guest->distro = g_ascii_strdown (id, -1);
  guest->distro_like = g_strdup (strcmp (guest->distro, "ubuntu") == 0 ? "debian" : "");
  guest->version = assignment (guest->tree, "/etc/lsb-release", "DISTRIB_RELEASE");
  guest->pretty_name = assignment (guest->tree, "/etc/lsb-release", "DISTRIB_DESCRIPTION");
  g_free (id);
  return TRUE;
}

static void
identify_by_release_file (H2kGuest *guest)
{
  for (guint i = 0; i < G_N_ELEMENTS (releases); i++)
    {
      g_autofree char *line = first_line (guest->tree, releases[i].path);

      if (!h2k_tree_is_file (guest->tree, releases[i].path)
          || (releases[i].contains && !(line && strstr (line, releases[i].contains))))
        continue;
      guest->distro = g_strdup (releases[i].id);
      guest->distro_like = g_strdup (releases[i].like);
      guest->version = version_in (line ? line : "");
      guest->pretty_name = line && strpbrk (line, " ")
                               ? g_steal_pointer (&line)
                               : g_strdup_printf ("%s %s", guest->distro, guest->version);
      return;
    }
}

static void
identify_distro (H2kGuest *guest)
{
  char **defaults[] = {&guest->distro_like, &guest->version, &guest->pretty_name};

  if (!identify_by_os_release (guest) && !identify_by_lsb (guest))
    identify_by_release_file (guest);
  if (!guest->distro)
    guest->distro = g_strdup ("unknown");
  for (guint i = 0; i < G_N_ELEMENTS (defaults); i++)
    if (!*defaults[i])
      *defaults[i] = g_strdup (i == 2 ? guest->distro : "");
}

char *
h2k_guest_pretty_name (H2kTree *tree)
{
  H2kGuest guest = {.tree = tree};
  char *name;

  identify_distro (&guest);
  name = guest.pretty_name;
  g_free (guest.distro);
  g_free (guest.distro_like);
  g_free (guest.version);
  return name;
}

/* Whether the name itself is there, wherever it leads: with a separate /usr the links of a merged
 * one lead nowhere as long as only the root is mounted. */
static gboolean
name_exists (H2kTree *tree, const char *path)
{
  H2kStat st;

  return h2k_tree_lstat (tree, path, &st, NULL);
}

/* What is looked at first cannot be read, which is not the same as that it is missing. */
static void
set_unread (H2kTree *tree, GError **error)
{
  static const char *const paths[]
      = {"/", "/etc/os-release", "/usr/lib/os-release", "/bin", "/etc/passwd"};
  H2kStat st;

  for (guint i = 0; i < G_N_ELEMENTS (paths); i++)
    {
      g_autoptr (GError) local = NULL;

      if (h2k_tree_lstat (tree, paths[i], &st, &local)
          || g_error_matches (local, H2K_ERROR, H2K_ERROR_FAILED))
        continue;
      g_propagate_error (error, g_steal_pointer (&local));
      return;
    }
}

gboolean
h2k_guest_is_system (H2kTree *tree, GError **error)
{
  static const char *const live[] = {"/casper", "/live", "/.disk/info", "/LiveOS", NULL};
  gboolean release = name_exists (tree, "/etc/os-release")
                     || name_exists (tree, "/usr/lib/os-release")
                     || name_exists (tree, "/etc/lsb-release");

  for (guint i = 0; !release && i < G_N_ELEMENTS (releases); i++)
    release = name_exists (tree, releases[i].path);
  if (release && (name_exists (tree, "/bin") || h2k_tree_is_dir (tree, "/usr/bin"))
      && h2k_tree_is_file (tree, "/etc/passwd"))
    return !any_exists (tree, live);
  set_unread (tree, error);
  return FALSE;
}

static void
identify_names (H2kGuest *guest)
{
  static const char *const id_files[] = {"/etc/machine-id", "/var/lib/dbus/machine-id"};

  guest->hostname = first_line (guest->tree, "/etc/hostname");
  if (!guest->hostname)
    guest->hostname = first_line (guest->tree, "/etc/HOSTNAME");
  if (!guest->hostname)
    guest->hostname = assignment (guest->tree, "/etc/sysconfig/network", "HOSTNAME");
  if (!guest->hostname)
    guest->hostname = g_strdup ("");
  for (guint i = 0; i < G_N_ELEMENTS (id_files) && !guest->machine_id; i++)
    {
      guest->machine_id = first_line (guest->tree, id_files[i]);
      if (guest->machine_id && strspn (guest->machine_id, "0123456789abcdef") != 32)
        g_clear_pointer (&guest->machine_id, g_free);
    }
  if (!guest->machine_id)
    guest->machine_id = g_strdup ("");
}

/* --- architecture ----------------------------------------------------------------------------- */

static const struct
{
  guint16 machine;
  guint8 data; /* 0: any */
  const char *name;
} machines[] = {
    {EM_X86_64, 0, "x86_64"},
    {EM_386, 0, "i686"},
    {EM_AARCH64, 0, "aarch64"},
    {EM_ARM, 0, "armv7l"},
    {EM_PPC64, ELFDATA2LSB, "ppc64le"},
    {EM_PPC64, ELFDATA2MSB, "ppc64"},
    {EM_S390, 0, "s390x"},
    {EM_RISCV, 0, "riscv64"},
};

static const char *
elf_machine (H2kTree *tree, const char *path)
{
  g_autoptr (GBytes) head = h2k_tree_read_range (tree, path, 0, 20, NULL);
  gsize size = 0;
  const guint8 *e = head ? g_bytes_get_data (head, &size) : NULL;
  guint16 machine;

  if (size < 20 || memcmp (e, ELFMAG, SELFMAG) != 0)
    return NULL;
  machine = e[EI_DATA] == ELFDATA2MSB ? h2k_be16 (e + 18) : h2k_le16 (e + 18);
  for (guint i = 0; i < G_N_ELEMENTS (machines); i++)
    if (machines[i].machine == machine && (!machines[i].data || machines[i].data == e[EI_DATA]))
      return machines[i].name;
  return NULL;
}

static void
identify_arch (H2kGuest *guest)
{
  static const char *const programs[]
      = {"/sbin/init", "/usr/lib/systemd/systemd", "/bin/sh", "/bin/bash", "/bin/busybox",
         "/bin/ls"};
  const char *name = NULL;

  for (guint i = 0; i < G_N_ELEMENTS (programs) && !name; i++)
    name = elf_machine (guest->tree, programs[i]);
  guest->arch = g_strdup (name ? name : "unknown");
}

/* --- bootloader and firmware ------------------------------------------------------------------ */

static void
identify_bootloader (H2kGuest *guest)
{
  /* By the file that the loader reads, the surest first. */
  static const struct
  {
    const char *pattern;
    H2kBootloader loader;
  } files[] = {
      {"/boot/grub/grub.cfg", H2K_BOOTLOADER_GRUB2},
      {"/boot/grub2/grub.cfg", H2K_BOOTLOADER_GRUB2},
      {"/boot/efi/EFI/*/grub.cfg", H2K_BOOTLOADER_GRUB2},
      {"/efi/EFI/*/grub.cfg", H2K_BOOTLOADER_GRUB2},
      {"/boot/grub/menu.lst", H2K_BOOTLOADER_GRUB_LEGACY},
      {"/boot/grub/grub.conf", H2K_BOOTLOADER_GRUB_LEGACY},
      {"/boot/extlinux/extlinux.conf", H2K_BOOTLOADER_EXTLINUX},
      {"/boot/extlinux.conf", H2K_BOOTLOADER_EXTLINUX},
      {"/boot/syslinux/syslinux.cfg", H2K_BOOTLOADER_EXTLINUX},
      {"/boot/grub2/grubenv", H2K_BOOTLOADER_GRUB2}, /* grub.cfg is on an unread ESP */
      {"/etc/grub2-efi.cfg", H2K_BOOTLOADER_GRUB2},
      {"/boot/loader/loader.conf", H2K_BOOTLOADER_SYSTEMD_BOOT},
      {"/boot/loader/entries/*.conf", H2K_BOOTLOADER_SYSTEMD_BOOT},
      {"/boot/efi/loader/loader.conf", H2K_BOOTLOADER_SYSTEMD_BOOT},
      {"/efi/loader/loader.conf", H2K_BOOTLOADER_SYSTEMD_BOOT},
      {"/etc/default/grub", H2K_BOOTLOADER_GRUB2},
  };

  for (guint i = 0; i < G_N_ELEMENTS (files); i++)
    if (any_match (guest->tree, files[i].pattern))
      {
        guest->bootloader = files[i].loader;
        return;
      }
}

/* Whether the disk's first sector holds boot code, before the partition table. */
static gboolean
has_boot_code (H2kDisk *disk)
{
  guint8 sector[440];

  return disk->size >= 512 && h2k_disk_pread (disk, 0, sizeof sector, sector, NULL)
         && !h2k_is_zero (sector, sizeof sector);
}

/* UEFI needs an EFI system partition. Many images can be started both ways (cloud images, and
 * every disk that parted wrote a dummy MBR to), so boot code alone decides nothing: it counts when
 * it has something to start, which is a BIOS boot partition (GPT) or an active one (MBR). What GRUB
 * was installed for breaks the tie. */
static void
identify_firmware (H2kGuest *guest)
{
  static const char *const bios_grub[] = {"/boot/grub/i386-pc", "/boot/grub2/i386-pc", NULL};
  static const char *const efi_grub[]
      = {"/boot/grub/x86_64-efi", "/boot/grub2/x86_64-efi", "/boot/grub/arm64-efi", NULL};
  H2kDisk *disk = g_ptr_array_index (guest->disks, guest->root->disk);
  gboolean esp = FALSE, startable = FALSE;

  for (guint i = 0; i < guest->volumes->len; i++)
    {
      const H2kGuestVolume *volume = g_ptr_array_index (guest->volumes, i);
      const char *role = h2k_volume_role (volume->volume);

      if (strcmp (role, "esp") == 0)
        esp = TRUE;
      else if (strcmp (role, "bios-boot") == 0 || volume->volume->active)
        startable = TRUE;
    }
  guest->firmware = H2K_FIRMWARE_BIOS;
  if (!esp)
    return;
  if (!has_boot_code (disk) || !startable
      || (any_exists (guest->tree, efi_grub) && !any_exists (guest->tree, bios_grub)))
    guest->firmware = H2K_FIRMWARE_UEFI;
}

/* An ESP that no driver opened matters when GRUB's only real configuration lies there. */
static void
check_esp (H2kGuest *guest)
{
  for (guint i = 0; i < guest->volumes->len; i++)
    {
      const H2kGuestVolume *volume = g_ptr_array_index (guest->volumes, i);
      g_autofree char *place = h2k_guest_volume_name (volume);

      if (volume->fs || strcmp (h2k_volume_role (volume->volume), "esp") != 0
          || guest->firmware != H2K_FIRMWARE_UEFI)
        continue;
      if (!any_match (guest->tree, "/boot/grub*/grub.cfg"))
        h2k_guest_warn (guest,
                        "the EFI system partition (%s) was not opened: what its GRUB says about "
                        "the root device was not looked at",
                        place);
    }
}

/* --- initramfs, init, network ----------------------------------------------------------------- */

/* With both generators unpacked: whether it is initramfs-tools that makes the images. Its library
 * (initramfs-tools-core) is there for other packages, its hooks stay behind when it is removed, and
 * dracut may bring an update-initramfs, too: the package that owns the program tells. */
static gboolean
makes_images (H2kTree *tree)
{
  g_autoptr (H2kLines) owned = read_lines (tree, "/var/lib/dpkg/info/initramfs-tools.list");

  for (guint i = 0; owned && i < h2k_lines_count (owned); i++)
    if (g_str_has_suffix (h2k_lines_get (owned, i), "/sbin/update-initramfs"))
      return TRUE;
  return !owned && h2k_tree_exists (tree, "/usr/sbin/update-initramfs")
         && !h2k_tree_exists (tree, "/etc/kernel/postinst.d/dracut");
}

static void
identify_initramfs (H2kGuest *guest)
{
  static const char *const tools[]
      = {"/usr/sbin/mkinitramfs", "/usr/share/initramfs-tools/init", NULL};
  static const char *const dracut[] = {"/usr/bin/dracut", "/usr/sbin/dracut", "/sbin/dracut", NULL};
  static const char *const mkinitcpio[]
      = {"/usr/bin/mkinitcpio", "/usr/sbin/mkinitcpio", "/sbin/mkinitcpio", NULL};
  gboolean has_tools = any_exists (guest->tree, tools);
  gboolean has_dracut = any_exists (guest->tree, dracut);
  gboolean any = FALSE;

  for (guint i = 0; i < guest->kernels->len; i++)
    any |= ((H2kKernel *)g_ptr_array_index (guest->kernels, i))->initramfs != NULL;
  if (has_tools && has_dracut)
    has_tools = makes_images (guest->tree);
  if (guest->kernels->len && !any)
    guest->initramfs = H2K_INITRAMFS_NONE;
  else if (has_tools)
    guest->initramfs = H2K_INITRAMFS_TOOLS;
  else if (has_dracut)
    guest->initramfs = H2K_INITRAMFS_DRACUT;
  else if (any_exists (guest->tree, mkinitcpio))
    guest->initramfs = H2K_INITRAMFS_MKINITCPIO;
}

static void
identify_init (H2kGuest *guest)
{
  static const char *const openrc[] = {"/sbin/openrc", "/usr/sbin/openrc", "/sbin/rc", NULL};
  g_autofree char *path = h2k_tree_resolve (guest->tree, "/sbin/init", FALSE);

  /* A link that leads nowhere here still says what it is meant to lead to. */
  if (!path)
    path = h2k_tree_readlink (guest->tree, "/sbin/init", NULL);
  if (path && g_str_has_suffix (path, "/systemd"))
    guest->init = H2K_INIT_SYSTEMD;
  else if (any_exists (guest->tree, openrc) && h2k_tree_is_dir (guest->tree, "/etc/runlevels"))
    guest->init = H2K_INIT_OPENRC;
  else if (h2k_tree_exists (guest->tree, "/sbin/initctl")
           && any_match (guest->tree, "/etc/init/*.conf"))
    guest->init = H2K_INIT_UPSTART;
  else if (path)
    guest->init = H2K_INIT_SYSV;
}

/* Whether the unit is linked into a target (or its D-Bus name is aliased). */
static gboolean
unit_enabled (H2kTree *tree, const char *unit)
{
  g_autofree char *wants = g_strdup_printf ("/etc/systemd/system/*.wants/%s", unit);

  return any_match (tree, wants);
}

static gboolean
has_interfaces_stanza (H2kTree *tree, const char *path)
{
  g_autoptr (H2kLines) lines = read_lines (tree, path);

  for (guint i = 0; lines && i < h2k_lines_count (lines); i++)
    {
      g_auto (GStrv) words = NULL;
      g_autofree char *line = g_strstrip (g_strdup (h2k_lines_get (lines, i)));

      if (!g_str_has_prefix (line, "iface"))
        continue;
      words = g_strsplit_set (line, " \t", -1);
      for (guint w = 1; words[w]; w++)
        if (*words[w])
          {
            if (strcmp (words[0], "iface") == 0 && strcmp (words[w], "lo") != 0)
              return TRUE;
            break;
          }
    }
  return FALSE;
}

static gboolean
uses_ifupdown (H2kTree *tree)
{
  static const char *const ifup[] = {"/sbin/ifup", "/usr/sbin/ifup", NULL};
  g_autoptr (GPtrArray) files = h2k_tree_glob (tree, "/etc/network/interfaces.d/*");
  gboolean found = has_interfaces_stanza (tree, "/etc/network/interfaces");

  for (guint i = 0; i < files->len && !found; i++)
    found = has_interfaces_stanza (tree, files->pdata[i]);
  return found && any_exists (tree, ifup);
}

static gboolean
uses_netplan (H2kTree *tree)
{
  static const char *const programs[]
      = {"/usr/sbin/netplan", "/lib/netplan/generate", "/usr/libexec/netplan/generate",
         "/lib/systemd/system-generators/netplan", NULL};

  return (any_match (tree, "/etc/netplan/*.yaml") || any_match (tree, "/lib/netplan/*.yaml"))
         && any_exists (tree, programs);
}

static gboolean
uses_networkd (H2kTree *tree)
{
  return any_match (tree, "/etc/systemd/network/*.network")
         && (unit_enabled (tree, "systemd-networkd.service")
             || unit_enabled (tree, "systemd-networkd.socket"));
}

static gboolean
uses_network_manager (H2kTree *tree)
{
  return h2k_tree_exists (tree, "/usr/sbin/NetworkManager")
         && (unit_enabled (tree, "NetworkManager.service")
             || any_match (tree, "/etc/rc*.d/S*NetworkManager")
             || any_match (tree, "/etc/rc*.d/S*network-manager")
             || any_match (tree, "/etc/rc.d/rc*.d/S*NetworkManager")
             || any_match (tree, "/etc/init/network-manager.conf")
             || any_match (tree, "/etc/runlevels/*/*etworkManager"));
}

static gboolean
uses_ifcfg (H2kTree *tree)
{
  static const char *const patterns[]
      = {"/etc/sysconfig/network-scripts/ifcfg-*", "/etc/sysconfig/network/ifcfg-*"};

  for (guint i = 0; i < G_N_ELEMENTS (patterns); i++)
    {
      g_autoptr (GPtrArray) files = h2k_tree_glob (tree, patterns[i]);
      for (guint k = 0; k < files->len; k++)
        if (!g_str_has_suffix (files->pdata[k], "/ifcfg-lo")
            && !g_str_has_suffix (files->pdata[k], ".template"))
          return TRUE;
    }
  return FALSE;
}

static const struct
{
  H2kNetworkStacks flag;
  const char *name;
  gboolean (*uses) (H2kTree *tree);
} stacks[] = {
    {H2K_NET_IFUPDOWN, "ifupdown", uses_ifupdown},
    {H2K_NET_NETPLAN, "netplan", uses_netplan},
    {H2K_NET_NETWORKD, "systemd-networkd", uses_networkd},
    {H2K_NET_NETWORK_MANAGER, "NetworkManager", uses_network_manager},
    {H2K_NET_IFCFG, "ifcfg", uses_ifcfg},
};

const char **
h2k_network_names (H2kNetworkStacks set)
{
  const char **names = g_new0 (const char *, G_N_ELEMENTS (stacks) + 1);
  guint n = 0;

  for (guint i = 0; i < G_N_ELEMENTS (stacks); i++)
    if (set & stacks[i].flag)
      names[n++] = stacks[i].name;
  return names;
}

/* --- parts of hypervisors --------------------------------------------------------------------- */

static const struct
{
  const char *name;
  const char *pattern;
  const char *unless; /* exists: it belongs to another entry */
} hypervisor_parts[] = {
    {"open-vm-tools", "/usr/bin/vmtoolsd", "/etc/vmware-tools/locations"},
    {"VMware Tools", "/etc/vmware-tools/locations", NULL},
    {"VirtualBox Guest Additions", "/usr/sbin/VBoxService", NULL},
    {"VirtualBox Guest Additions", "/opt/VBoxGuestAdditions-*", "/usr/sbin/VBoxService"},
    {"xe-guest-utilities", "/usr/sbin/xe-daemon", NULL},
    {"xe-guest-utilities", "/usr/sbin/xe-linux-distribution", "/usr/sbin/xe-daemon"},
    {"hyperv-daemons", "/usr/sbin/hv_kvp_daemon", NULL},
    {"hyperv-daemons", "/usr/sbin/hypervkvpd", "/usr/sbin/hv_kvp_daemon"},
    {"Azure Linux Agent", "/usr/sbin/waagent", NULL},
    {"Parallels Tools", "/usr/bin/prltoolsd", NULL},
};

static void
identify_hypervisor (H2kGuest *guest)
{
  for (guint i = 0; i < G_N_ELEMENTS (hypervisor_parts); i++)
    if (any_match (guest->tree, hypervisor_parts[i].pattern)
        && !(hypervisor_parts[i].unless
             && h2k_tree_exists (guest->tree, hypervisor_parts[i].unless)))
      g_ptr_array_add (guest->vmware_tools, g_strdup (hypervisor_parts[i].name));
}

/* --- all -------------------------------------------------------------------------------------- */

void
h2k_guest_identify (H2kGuest *guest)
{
  identify_distro (guest);
  identify_names (guest);
  identify_arch (guest);
  identify_bootloader (guest);
  identify_firmware (guest);
  h2k_guest_find_kernels (guest);
  identify_initramfs (guest);
  identify_init (guest);
  for (guint i = 0; i < G_N_ELEMENTS (stacks); i++)
    if (stacks[i].uses (guest->tree))
      guest->network |= stacks[i].flag;
  identify_hypervisor (guest);
  check_esp (guest);
}
