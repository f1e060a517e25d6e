/* windows.c - what Windows wants of its machine, by release.
 *
 * Which hardware a release has drivers for is what osinfo-db says of it. Hyper-V's enlightenments
 * follow QEMU's "Hyper-V Enlightenments", virt-install, and what KubeVirt gives every Windows.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "domain/windows.h"
#include "domain/arch.h"

/* Versions as one number, so that they can be compared. */
#define VERSION(major, minor) ((major) << 8 | (minor))

static guint
version_of (const H2kDomainWindows *windows)
{
  return VERSION (windows->major, windows->minor);
}

void
h2k_domain_set_windows (H2kDomain *domain, const H2kDomainWindows *windows)
{
  gboolean x86 = strcmp (h2k_arch_get (domain->arch)->libvirt, "x86_64") == 0;

  g_free (domain->windows);
  domain->windows = g_memdup2 (windows, sizeof *windows);
  g_free (domain->osinfo_id);
  domain->osinfo_id = h2k_domain_windows_osinfo_id (windows->major, windows->minor, windows->build,
                                                    windows->server);
  /* osinfo-db has the q35 from Windows 7 and Server 2008 R2 on. */
  domain->i440fx = x86 && version_of (windows) < VERSION (6, 1);
}

void
h2k_domain_take_windows (H2kDomain *domain, const H2kWindows *windows)
{
  const H2kWindowsRelease *version = &windows->version;
  H2kDomainWindows taken = {
      .major = version->major,
      .minor = version->minor,
      .build = version->build,
      .server = version->product != H2K_WINDOWS_CLIENT,
      .rtc_utc = windows->real_time_is_universal,
  };

  h2k_domain_set_windows (domain, &taken);
}

H2kNicModel
h2k_domain_windows_nic (const H2kDomainWindows *windows)
{
  return version_of (windows) < VERSION (6, 1) ? H2K_NIC_E1000 : H2K_NIC_E1000E;
}

guint
h2k_domain_max_vcpus (const H2kDomain *domain)
{
  guint version = domain->windows == NULL ? 0 : version_of (domain->windows);

  if (version == 0)
    return 0;
  /* One bit of a processor mask for each, which has the width of a register. Windows 7 and Server
   * 2008 R2 brought groups of processors: four of them. */
  if (strcmp (domain->arch, "i686") == 0)
    return 32;
  return version < VERSION (6, 1) ? 64 : version == VERSION (6, 1) ? 256 : 0;
}

guint
h2k_domain_vcpus (const H2kDomain *domain)
{
  guint max = h2k_domain_max_vcpus (domain);

  return max > 0 ? MIN (domain->vcpus, max) : domain->vcpus;
}

gboolean
h2k_windows_has_xhci (const H2kDomainWindows *windows)
{
  return version_of (windows) >= VERSION (6, 2);
}

/* Windows XP and 2003 know nothing of Hyper-V; Vista and 2008 know what came with the first
 * Hyper-V. The others follow QEMU's order of what needs what.
 *
 * QEMU's emulation takes these settings and ignores them, except for those that need an index of
 * virtual processors, which it wants to tell the kernel. */
static const H2kEnlightenment enlightenments[] = {
    {"relaxed", "hv_relaxed=on", VERSION (6, 0), FALSE},
    {"vapic", "hv_vapic=on", VERSION (6, 0), FALSE},
    {"spinlocks", "hv_spinlocks=" H2K_SPINLOCK_RETRIES, VERSION (6, 0), FALSE},
    {NULL, "hv_time=on", VERSION (6, 0), FALSE}, /* libvirt has it among the clock's timers */
    {"vpindex", "hv_vpindex=on", VERSION (6, 1), TRUE},
    {"runtime", "hv_runtime=on", VERSION (6, 1), FALSE},
    {"synic", "hv_synic=on", VERSION (6, 1), TRUE},
    {"stimer", "hv_stimer=on", VERSION (6, 1), TRUE},
    {"reset", "hv_reset=on", VERSION (6, 2), FALSE},
    {"frequencies", "hv_frequencies=on", VERSION (6, 2), FALSE},
    {"tlbflush", "hv_tlbflush=on", VERSION (6, 2), TRUE},
    {"ipi", "hv_ipi=on", VERSION (6, 2), TRUE},
};

const H2kEnlightenment *
h2k_windows_enlightenment (const H2kDomain *domain, guint number)
{
  const H2kEnlightenment *found = NULL;
  guint seen = 0, version = domain->windows == NULL ? 0 : version_of (domain->windows);

  if (strcmp (h2k_arch_get (domain->arch)->libvirt, "x86_64") != 0)
    return NULL;
  /* Started by UEFI, Windows 7 and Server 2008 R2 hang with them (bugzilla.redhat.com 1185253,
   * bugs.launchpad.net/qemu 1593605); nobody has tried those before. */
  if (domain->firmware == H2K_FIRMWARE_UEFI && version < VERSION (6, 2))
    return NULL;
  for (gsize i = 0; i < G_N_ELEMENTS (enlightenments) && found == NULL; i++)
    if (version >= enlightenments[i].version && seen++ == number)
      found = &enlightenments[i];
  return found;
}
