/* test-windows.c - definitions for Windows: valid, right for each release, the same in both phases.
 *
 * Peers: libvirt's schema and its test driver, libvirt's QEMU driver (embedded in virsh, without a
 * daemon), QEMU itself, osinfo-db. What a host lacks is skipped.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "checks.h"
#include "domain/arch.h"
#include "domain/places.h"
#include "domain/qemu.h"

#include <glib/gstdio.h>
#include <json-glib/json-glib.h>
#include <unistd.h>

static char *scratch;

typedef struct
{
  const char *name;
  H2kDomainWindows windows;
  const char *osinfo;
} Release;

static const Release releases[] = {
    {"XP", {5, 1, 2600, FALSE, FALSE}, "xp"},
    {"XP x64", {5, 2, 3790, FALSE, FALSE}, "xp"},
    {"Server 2003", {5, 2, 3790, TRUE, FALSE}, "2k3"},
    {"Vista", {6, 0, 6002, FALSE, FALSE}, "vista"},
    {"Server 2008", {6, 0, 6002, TRUE, FALSE}, "2k8"},
    {"7", {6, 1, 7601, FALSE, FALSE}, "7"},
    {"Server 2008 R2", {6, 1, 7601, TRUE, FALSE}, "2k8r2"},
    {"8", {6, 2, 9200, FALSE, FALSE}, "8"},
    {"Server 2012", {6, 2, 9200, TRUE, FALSE}, "2k12"},
    {"8.1", {6, 3, 9600, FALSE, FALSE}, "8.1"},
    {"Server 2012 R2", {6, 3, 9600, TRUE, TRUE}, "2k12r2"},
    {"10 1507", {10, 0, 10240, FALSE, FALSE}, "10"},
    {"10 22H2", {10, 0, 19045, FALSE, TRUE}, "10"},
    {"11 21H2", {10, 0, 22000, FALSE, FALSE}, "11"},
    {"11 24H2", {10, 0, 26100, FALSE, FALSE}, "11"},
    {"Server 2016", {10, 0, 14393, TRUE, FALSE}, "2k16"},
    {"Server 1709", {10, 0, 16299, TRUE, FALSE}, "2k16"},
    {"Server 2019", {10, 0, 17763, TRUE, FALSE}, "2k19"},
    {"Server 20H2", {10, 0, 19042, TRUE, FALSE}, "2k19"},
    {"Server 2022", {10, 0, 20348, TRUE, FALSE}, "2k22"},
    {"Server 23H2", {10, 0, 25398, TRUE, FALSE}, "2k22"},
    {"Server 2025", {10, 0, 26100, TRUE, FALSE}, "2k25"},
};

static const Release *
release (const char *name)
{
  for (gsize i = 0; i < G_N_ELEMENTS (releases); i++)
    if (strcmp (releases[i].name, name) == 0)
      return &releases[i];
  g_error ("no release %s", name);
}

static const char *const arches[] = {"x86_64", "i686", "aarch64"};

/* Two disks and two NICs, one of which has no MAC. */
static H2kDomain *
make (const Release *r, const char *arch, H2kFirmware firmware, H2kBus bus)
{
  H2kDomain *domain = h2k_domain_new ("win");
  g_autofree char *first = g_build_filename (scratch, "c,1.raw", NULL);
  g_autofree char *second = g_build_filename (scratch, "d.raw", NULL);

  g_free (domain->arch);
  domain->arch = g_strdup (arch);
  domain->firmware = firmware;
  domain->description = g_strdup_printf ("Windows %s", r->name);
  domain->memory_mib = 64;
  h2k_domain_set_windows (domain, &r->windows);
  h2k_domain_add_disk (domain, first, "raw", bus);
  h2k_domain_add_disk (domain, second, "raw", bus);
  h2k_domain_add_nic (domain, "00:50:56:ab:cd:01", NULL);
  h2k_domain_add_nic (domain, NULL, NULL);
  ((H2kDomainNic *)domain->nics->pdata[1])->model = h2k_domain_windows_nic (&r->windows);
  h2k_domain_fix_macs (domain);
  return domain;
}

static H2kDomain *
make_bootstrap (const H2kDomain *final)
{
  g_autofree char *extra = g_build_filename (scratch, "extra.raw", NULL);
  g_autofree char *iso = g_build_filename (scratch, "virtio-win.iso", NULL);

  return h2k_domain_bootstrap_new (final, extra, iso);
}

typedef void (*DomainFunc) (const Release *r, const H2kDomain *final, const H2kDomain *bootstrap);

/* FUNC for each release, architecture, firmware and bus. */
static void
for_each (DomainFunc func)
{
  static const H2kBus buses[] = {H2K_BUS_VIRTIO_BLK, H2K_BUS_VIRTIO_SCSI, H2K_BUS_SATA};

  for (gsize r = 0; r < G_N_ELEMENTS (releases); r++)
    for (gsize a = 0; a < G_N_ELEMENTS (arches); a++)
      for (int f = H2K_FIRMWARE_BIOS; f <= H2K_FIRMWARE_UEFI; f++)
        for (gsize b = 0; b < G_N_ELEMENTS (buses); b++)
          {
            g_autoptr (H2kDomain) final = make (&releases[r], arches[a], (H2kFirmware)f, buses[b]);
            g_autoptr (H2kDomain) bootstrap = NULL;

            /* There was no Windows for ARM as a server's or desktop's system before 10. */
            if (strcmp (arches[a], "aarch64") == 0 && releases[r].windows.major < 10)
              continue;
            final->tpm = final->secure_boot = releases[r].windows.build >= 22000;
            bootstrap = make_bootstrap (final);
            func (&releases[r], final, bootstrap);
          }
}

/* --- valid ------------------------------------------------------------------------------------ */

static guint validated;

static void
validate (const Release *r, const H2kDomain *final, const H2kDomain *bootstrap)
{
  const H2kDomain *both[] = {final, bootstrap};

  for (gsize i = 0; i < G_N_ELEMENTS (both); i++)
    {
      g_autofree char *xml = h2k_domain_to_xml (both[i]);
      g_autofree char *message = NULL;

      if (!check_schema (scratch, xml, &message))
        g_error ("%s, %s: %s\n%s", r->name, both[i]->arch, message, xml);
      validated++;
    }
}

static void
test_schema (void)
{
  if (!check_have_schema ())
    return;
  for_each (validate);
  g_test_message ("%u definitions validated", validated);
  g_assert_cmpuint (validated, >, 500);
}

/* A bus that needs more than one controller, and NICs of every model. */
static void
test_schema_large (void)
{
  if (!check_have_schema ())
    return;
  for (int bus = H2K_BUS_VIRTIO_BLK; bus <= H2K_BUS_IDE; bus++)
    {
      g_autoptr (H2kDomain) final
          = make (release ("10 22H2"), "x86_64", H2K_FIRMWARE_BIOS, (H2kBus)bus);
      g_autoptr (H2kDomain) bootstrap = NULL;

      for (guint i = 0; i < 30 && bus != H2K_BUS_IDE; i++)
        h2k_domain_add_disk (final, "/srv/more.raw", "raw", (H2kBus)bus);
      for (guint i = 0; i < 20; i++)
        {
          h2k_domain_add_nic (final, NULL, NULL);
          ((H2kDomainNic *) final->nics->pdata[i])->model = (H2kNicModel)(i % 4);
        }
      h2k_domain_fix_macs (final);
      bootstrap = make_bootstrap (final);
      validate (release ("10 22H2"), final, bootstrap);
    }
}

/* --- right ------------------------------------------------------------------------------------ */

static void
test_machine (void)
{
  static const struct
  {
    const char *release, *arch, *machine;
    H2kFirmware firmware;
  } cases[] = {
      {"XP", "i686", "pc", H2K_FIRMWARE_BIOS},
      {"XP x64", "x86_64", "pc", H2K_FIRMWARE_BIOS},
      {"Server 2003", "x86_64", "pc", H2K_FIRMWARE_BIOS},
      {"Vista", "x86_64", "pc", H2K_FIRMWARE_BIOS},
      {"Server 2008", "x86_64", "pc", H2K_FIRMWARE_UEFI},
      {"7", "x86_64", "q35", H2K_FIRMWARE_BIOS},
      {"Server 2008 R2", "x86_64", "q35", H2K_FIRMWARE_BIOS},
      {"11 24H2", "x86_64", "q35", H2K_FIRMWARE_UEFI},
      {"11 24H2", "aarch64", "virt", H2K_FIRMWARE_UEFI},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (H2kDomain) domain
          = make (release (cases[i].release), cases[i].arch, cases[i].firmware, H2K_BUS_VIRTIO_BLK);
      g_autofree char *xml = h2k_domain_to_xml (domain), *pc = NULL;

      check_assert_xpath (xml, "/domain/os/type/@machine", cases[i].machine);
      check_assert_xpath (xml, "/domain/os/@firmware",
                          cases[i].firmware == H2K_FIRMWARE_UEFI ? "efi" : "");
      /* What has no driver for AHCI gets the older chipset; ARM has none such. */
      domain->i440fx = TRUE;
      pc = h2k_domain_to_xml (domain);
      check_assert_xpath (pc, "/domain/os/type/@machine",
                          strcmp (cases[i].arch, "aarch64") == 0 ? "virt" : "pc");
    }
}

static void
test_clock (void)
{
  g_autoptr (H2kDomain) local
      = make (release ("10 1507"), "x86_64", H2K_FIRMWARE_BIOS, H2K_BUS_VIRTIO_BLK);
  g_autoptr (H2kDomain) utc
      = make (release ("Server 2012 R2"), "x86_64", H2K_FIRMWARE_BIOS, H2K_BUS_VIRTIO_BLK);
  g_autofree char *local_xml = h2k_domain_to_xml (local), *utc_xml = h2k_domain_to_xml (utc);
  g_autofree char *local_command = h2k_domain_qemu_command (local);
  g_autofree char *utc_command = h2k_domain_qemu_command (utc);

  check_assert_xpath (local_xml, "/domain/clock/@offset", "localtime");
  check_assert_xpath (local_xml, "/domain/clock/timer[@name='rtc']/@tickpolicy", "catchup");
  check_assert_xpath (local_xml, "/domain/clock/timer[@name='pit']/@tickpolicy", "delay");
  check_assert_xpath (local_xml, "/domain/clock/timer[@name='hpet']/@present", "no");
  check_assert_xpath (local_xml, "/domain/clock/timer[@name='hypervclock']/@present", "yes");
  check_assert_xpath (utc_xml, "/domain/clock/@offset", "utc");
  g_assert_nonnull (strstr (local_command, "-rtc base=localtime,driftfix=slew"));
  g_assert_nonnull (strstr (utc_command, "-rtc base=utc,"));
  g_assert_nonnull (strstr (utc_command, "q35,hpet=off"));
}

static void
test_enlightenments (void)
{
  static const struct
  {
    const char *release, *count, *clocks;
    H2kFirmware firmware;
  } cases[] = {
      {"XP", "0", "0", H2K_FIRMWARE_BIOS},
      {"Server 2003", "0", "0", H2K_FIRMWARE_BIOS},
      {"Vista", "3", "1", H2K_FIRMWARE_BIOS},
      {"Server 2008", "0", "0", H2K_FIRMWARE_UEFI},
      {"7", "7", "1", H2K_FIRMWARE_BIOS},
      {"7", "0", "0", H2K_FIRMWARE_UEFI},
      {"Server 2008 R2", "0", "0", H2K_FIRMWARE_UEFI},
      {"8", "11", "1", H2K_FIRMWARE_UEFI},
      {"Server 2025", "11", "1", H2K_FIRMWARE_UEFI},
  };
  g_autoptr (H2kDomain) arm
      = make (release ("11 24H2"), "aarch64", H2K_FIRMWARE_UEFI, H2K_BUS_VIRTIO_BLK);
  g_autofree char *arm_xml = h2k_domain_to_xml (arm);

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (H2kDomain) domain
          = make (release (cases[i].release), "x86_64", cases[i].firmware, H2K_BUS_VIRTIO_BLK);
      g_autofree char *xml = h2k_domain_to_xml (domain);

      check_assert_xpath (xml, "count(/domain/features/hyperv/*[@state='on'])", cases[i].count);
      check_assert_xpath (xml, "count(/domain/clock/timer[@name='hypervclock'])", cases[i].clocks);
      check_assert_xpath (xml, "count(/domain/features/kvm)", "0");
      if (strcmp (cases[i].count, "0") != 0)
        check_assert_xpath (xml, "/domain/features/hyperv/spinlocks/@retries", "8191");
      else
        check_assert_xpath (xml, "count(/domain/features/hyperv)", "0");
    }
  check_assert_xpath (arm_xml, "count(/domain/features/hyperv)", "0");
}

/* QEMU's CPU has of Hyper-V what the accelerator can have. */
static void
test_enlightenments_of_qemu (void)
{
  g_autoptr (H2kDomain) domain
      = make (release ("Server 2022"), "x86_64", H2K_FIRMWARE_BIOS, H2K_BUS_VIRTIO_BLK);
  static const struct
  {
    const char *accel;
    gboolean relaxed, stimer;
  } cases[] = {{"kvm", TRUE, TRUE}, {"tcg", FALSE, FALSE}, {NULL, TRUE, FALSE}};

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      H2kQemuSetup setup = {.accel = cases[i].accel};
      g_autoptr (GPtrArray) args = h2k_qemu_args (domain, &setup);
      const char *cpu = NULL;

      for (guint n = 0; n + 1 < args->len; n++)
        if (strcmp (args->pdata[n], "-cpu") == 0)
          cpu = args->pdata[n + 1];
      g_assert_nonnull (cpu);
      g_assert_true ((strstr (cpu, "hv_relaxed=on") != NULL) == cases[i].relaxed);
      g_assert_true ((strstr (cpu, "hv_time=on") != NULL) == cases[i].relaxed);
      g_assert_true ((strstr (cpu, "hv_stimer=on") != NULL) == cases[i].stimer);
      g_assert_true ((strstr (cpu, "hv_vpindex=on") != NULL) == cases[i].stimer);
    }
}

static void
test_cpus (void)
{
  static const struct
  {
    const char *release, *arch;
    guint vcpus;
    const char *expected;
  } cases[] = {
      {"10 22H2", "x86_64", 8, "8"},    {"10 22H2", "x86_64", 400, "400"},
      {"XP", "i686", 40, "32"},         {"XP", "i686", 4, "4"},
      {"XP x64", "x86_64", 80, "64"},   {"10 22H2", "i686", 64, "32"},
      {"Vista", "x86_64", 128, "64"},   {"7", "x86_64", 512, "256"},
      {"11 24H2", "aarch64", 12, "12"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (H2kDomain) domain
          = make (release (cases[i].release), cases[i].arch, H2K_FIRMWARE_BIOS, H2K_BUS_VIRTIO_BLK);
      g_autofree char *smp = g_strdup_printf ("-smp %s,sockets=1,cores=%s,threads=1",
                                              cases[i].expected, cases[i].expected);
      g_autofree char *xml = NULL, *command = NULL;

      domain->vcpus = cases[i].vcpus;
      xml = h2k_domain_to_xml (domain);
      check_assert_xpath (xml, "/domain/vcpu", cases[i].expected);
      check_assert_xpath (xml, "/domain/cpu/topology/@sockets", "1");
      check_assert_xpath (xml, "/domain/cpu/topology/@cores", cases[i].expected);
      check_assert_xpath (xml, "/domain/cpu/topology/@threads", "1");
      command = h2k_domain_qemu_command (domain);
      g_assert_nonnull (strstr (command, smp));
    }
}

static void
test_devices (void)
{
  static const struct
  {
    const char *release, *arch, *usb, *nic, *video;
  } cases[] = {
      {"XP", "i686", "piix3-uhci", "e1000", "vga"},
      {"Vista", "x86_64", "piix3-uhci", "e1000", "vga"},
      {"7", "x86_64", "ich9-ehci1", "e1000e", "vga"},
      {"8", "x86_64", "qemu-xhci", "e1000e", "vga"},
      {"Server 2025", "x86_64", "qemu-xhci", "e1000e", "vga"},
      {"11 24H2", "aarch64", "qemu-xhci", "e1000e", "ramfb"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (H2kDomain) domain
          = make (release (cases[i].release), cases[i].arch, H2K_FIRMWARE_BIOS, H2K_BUS_VIRTIO_BLK);
      g_autofree char *xml = h2k_domain_to_xml (domain);

      check_assert_xpath (xml, "/domain/devices/controller[@type='usb'][1]/@model", cases[i].usb);
      check_assert_xpath (xml, "/domain/devices/interface[1]/model/@type", "virtio");
      check_assert_xpath (xml, "/domain/devices/interface[2]/model/@type", cases[i].nic);
      check_assert_xpath (xml, "/domain/devices/video/model/@type", cases[i].video);
      check_assert_xpath (xml, "/domain/devices/input[@type='tablet']/@bus", "usb");
      check_assert_xpath (xml, "/domain/devices/serial/target/@port", "0");
      check_assert_xpath (xml, "/domain/devices/channel/target/@name", "org.qemu.guest_agent.0");
      check_assert_xpath (xml, "count(/domain/devices/rng)", "1");
      check_assert_xpath (xml, "/domain/devices/memballoon/@model", "virtio");
    }
}

/* The source's TPM and Secure Boot, and nothing that it had not. */
static void
test_security (void)
{
  g_autoptr (H2kDomain) domain
      = make (release ("11 24H2"), "x86_64", H2K_FIRMWARE_UEFI, H2K_BUS_VIRTIO_BLK);
  g_autofree char *without = h2k_domain_to_xml (domain), *with = NULL, *pc = NULL;

  check_assert_xpath (without, "count(/domain/devices/tpm)", "0");
  check_assert_xpath (without, "/domain/os/firmware/feature[@name='secure-boot']/@enabled", "no");
  domain->tpm = domain->secure_boot = TRUE;
  with = h2k_domain_to_xml (domain);
  check_assert_xpath (with, "/domain/devices/tpm/backend/@version", "2.0");
  check_assert_xpath (with, "/domain/os/loader/@secure", "yes");
  /* The older chipset has no system management mode to protect the firmware's variables. */
  domain->i440fx = TRUE;
  g_assert_false (h2k_domain_is_secure (domain));
  pc = h2k_domain_to_xml (domain);
  check_assert_xpath (pc, "count(/domain/features/smm)", "0");
}

static void
test_osinfo_ids (void)
{
  g_autoptr (GHashTable) ids = check_osinfo_db ();

  for (gsize i = 0; i < G_N_ELEMENTS (releases); i++)
    {
      const H2kDomainWindows *w = &releases[i].windows;
      g_autofree char *id = h2k_domain_windows_osinfo_id (w->major, w->minor, w->build, w->server);
      g_autofree char *expected
          = g_strconcat ("http://microsoft.com/win/", releases[i].osinfo, NULL);

      g_assert_cmpstr (id, ==, expected);
      /* Server 2025 is younger than some databases. */
      if (g_hash_table_size (ids) > 0 && strcmp (releases[i].osinfo, "2k25") != 0
          && !g_hash_table_contains (ids, id))
        g_error ("osinfo-db does not have %s", id);
    }
  g_assert_null (h2k_domain_windows_osinfo_id (4, 0, 1381, TRUE));
  g_assert_null (h2k_domain_windows_osinfo_id (0, 0, 0, FALSE));
  if (g_hash_table_size (ids) == 0)
    g_test_skip ("osinfo-db is not installed in " CHECK_OSINFO);
}

/* --- two phases ------------------------------------------------------------------------------- */

static void
assert_same (const char *a, const char *b, const char *expression)
{
  g_autofree char *value = check_xpath (a, expression);

  check_assert_xpath (b, expression, value);
}

/* What Windows tells the machine and its NICs by is the same in both; the final definition has
 * nothing of the bootstrap, and the bootstrap's extra disk is where the system will be. */
static void
compare_phases (const Release *r, const H2kDomain *final, const H2kDomain *bootstrap)
{
  static const char *const same[] = {
      "string(/domain/name)",
      "string(/domain/uuid)",
      "string(/domain/os/type/@machine)",
      "string(/domain/os/@firmware)",
      "string(/domain/os/loader/@secure)",
      "string(/domain/vcpu)",
      "string(/domain/memory)",
      "string(/domain/clock/@offset)",
      "count(/domain/features/hyperv/*)",
      "count(/domain/devices/tpm)",
      "count(/domain/devices/controller[@type='pci'])",
      "string(/domain/devices/interface[1]/mac/@address)",
      "string(/domain/devices/interface[2]/mac/@address)",
      "string(/domain/devices/interface[1]/address/@bus)",
      "string(/domain/devices/interface[1]/address/@slot)",
      "string(/domain/devices/interface[2]/address/@bus)",
      "string(/domain/devices/interface[2]/address/@slot)",
      "string(/domain/devices/controller[@type='virtio-serial']/address/@bus)",
      "string(/domain/devices/controller[@type='virtio-serial']/address/@slot)",
      "string(/domain/devices/memballoon/address/@bus)",
      "string(/domain/devices/rng/address/@slot)",
  };
  g_autofree char *a = h2k_domain_to_xml (final), *b = h2k_domain_to_xml (bootstrap);
  H2kBus bus = ((H2kDomainDisk *) final->disks->pdata[0])->bus;
  const char *safe = h2k_domain_is_i440fx (final) ? "ide" : "sata";
  g_autofree char *description = check_xpath (b, "/domain/description");
  g_autofree char *command = g_strdup_printf ("virsh define '%s.xml'", final->name);

  for (gsize i = 0; i < G_N_ELEMENTS (same); i++)
    assert_same (a, b, same[i]);
  check_assert_xpath (b, "/domain/devices/disk[1]/target/@bus", safe);
  check_assert_xpath (b, "/domain/devices/disk[2]/target/@bus", safe);
  check_assert_xpath (b, "/domain/devices/disk[1]/boot/@order", "1");
  check_assert_xpath (b, "count(/domain/devices/disk[@device='cdrom'])", "1");
  check_assert_xpath (b, "/domain/devices/disk[@device='cdrom']/target/@bus", safe);
  check_assert_xpath (b, "/domain/on_reboot", "restart");
  g_assert_nonnull (strstr (description, "Phase 1 of 2"));
  g_assert_nonnull (strstr (description, command));
  g_assert_nonnull (strstr (description, r->name));

  g_assert_null (strstr (a, "Phase"));
  g_assert_null (strstr (a, "extra.raw"));
  g_assert_null (strstr (a, "cdrom"));
  if (bus == H2K_BUS_SATA)
    return;
  g_assert_null (strstr (a, "\"sata\""));
  check_assert_xpath (b, "/domain/devices/disk[3]/target/@bus",
                      bus == H2K_BUS_VIRTIO_BLK ? "virtio" : "scsi");
  if (bus == H2K_BUS_VIRTIO_BLK)
    {
      g_autofree char *place = check_xpath (a, "/domain/devices/disk[1]/address/@bus");
      g_autofree char *slot = check_xpath (a, "/domain/devices/disk[1]/address/@slot");

      g_assert_cmpstr (slot, !=, "");
      check_assert_xpath (b, "/domain/devices/disk[3]/address/@bus", place);
      check_assert_xpath (b, "/domain/devices/disk[3]/address/@slot", slot);
    }
  else
    {
      assert_same (a, b, "string(/domain/devices/controller[@type='scsi']/address/@bus)");
      assert_same (a, b, "string(/domain/devices/controller[@type='scsi']/address/@slot)");
      check_assert_xpath (a, "/domain/devices/disk[1]/address/@unit", "0");
      check_assert_xpath (b, "/domain/devices/disk[3]/address/@unit", "0");
    }
}

static void
test_phases (void)
{
  for_each (compare_phases);
}

/* The old chipset has four places for disks and CD-ROMs; the system's disk is always among them. */
static void
test_ide_room (void)
{
  static const guint numbers[] = {1, 3, 4, 7};

  for (gsize n = 0; n < G_N_ELEMENTS (numbers); n++)
    for (guint iso = 0; iso < 2; iso++)
      {
        g_autoptr (H2kDomain) final = h2k_domain_new ("xp"), bootstrap = NULL;
        guint on_ide = 0, blk = 0;

        h2k_domain_set_windows (final, &release ("XP")->windows);
        for (guint i = 0; i < numbers[n]; i++)
          h2k_domain_add_disk (final, "/srv/x.raw", "raw", H2K_BUS_VIRTIO_BLK);
        bootstrap = h2k_domain_bootstrap_new (final, "/srv/extra.raw", iso ? "/srv/v.iso" : NULL);
        for (guint i = 0; i < bootstrap->disks->len; i++)
          {
            const H2kDomainDisk *disk = bootstrap->disks->pdata[i];

            on_ide += disk->bus == H2K_BUS_IDE;
            blk += disk->bus == H2K_BUS_VIRTIO_BLK;
            g_assert_true (i > 0 || disk->bus == H2K_BUS_IDE);
          }
        g_assert_cmpuint (on_ide, ==, MIN (numbers[n], 4 - iso));
        g_assert_cmpuint (blk, ==, numbers[n] - on_ide + 1);
        g_assert_cmpuint (bootstrap->cdroms->len, ==, iso);
      }
}

static void
test_macs (void)
{
  g_autoptr (H2kDomain) a = h2k_domain_new ("vm"), b = h2k_domain_new ("vm"),
                        c = h2k_domain_new ("other");
  H2kDomain *all[] = {a, b, c};
  const char *mac[3][2];

  for (guint i = 0; i < 3; i++)
    {
      h2k_domain_add_nic (all[i], NULL, NULL);
      h2k_domain_add_nic (all[i], "00:11:22:33:44:55", NULL);
      h2k_domain_add_nic (all[i], NULL, NULL);
      h2k_domain_fix_macs (all[i]);
      mac[i][0] = ((H2kDomainNic *)all[i]->nics->pdata[0])->mac;
      mac[i][1] = ((H2kDomainNic *)all[i]->nics->pdata[2])->mac;
      g_assert_true (g_str_has_prefix (mac[i][0], "52:54:00:"));
      g_assert_cmpuint (strlen (mac[i][0]), ==, 17);
      g_assert_cmpstr (mac[i][0], !=, mac[i][1]);
      g_assert_cmpstr (((H2kDomainNic *)all[i]->nics->pdata[1])->mac, ==, "00:11:22:33:44:55");
    }
  g_assert_cmpstr (mac[0][0], ==, mac[1][0]);
  g_assert_cmpstr (mac[0][1], ==, mac[1][1]);
  g_assert_cmpstr (mac[0][0], !=, mac[2][0]);
}

/* --- libvirt ---------------------------------------------------------------------------------- */

static void
make_files (void)
{
  static const char *const names[] = {"c,1.raw", "d.raw", "extra.raw", "virtio-win.iso"};

  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autofree char *path = g_build_filename (scratch, names[i], NULL);

      g_assert_true (g_file_set_contents (path, "", 0, NULL));
      g_assert_cmpint (truncate (path, 1 << 20), ==, 0);
    }
}

static char *
save (const H2kDomain *domain, const char *name)
{
  g_autofree char *xml = h2k_domain_to_xml (domain);
  char *path = g_build_filename (scratch, name, NULL);

  g_assert_true (g_file_set_contents (path, xml, -1, NULL));
  return path;
}

/* The way that the bootstrap's description tells: the final definition takes its place. */
static void
define_both (const Release *r, const H2kDomain *final, const H2kDomain *bootstrap)
{
  g_autofree char *first = save (bootstrap, "first.xml"), *second = save (final, "second.xml");
  g_autofree char *script = g_strdup_printf ("define %s; define %s; dumpxml win", first, second);
  const char *argv[] = {"virsh", "-c", "test:///default", script, NULL};
  g_autofree char *failure = check_run (argv, "", 60);

  if (failure != NULL)
    g_error ("%s: %s", r->name, failure);
}

static void
test_virsh_define (void)
{
  g_autofree char *program = g_find_program_in_path ("virsh");

  if (program == NULL)
    {
      g_test_skip ("virsh (package libvirt-clients) is not installed");
      return;
    }
  for (gsize i = 0; i < G_N_ELEMENTS (releases); i++)
    {
      g_autoptr (H2kDomain) final
          = make (&releases[i], "x86_64", H2K_FIRMWARE_BIOS, H2K_BUS_VIRTIO_SCSI);
      g_autoptr (H2kDomain) bootstrap = make_bootstrap (final);

      define_both (&releases[i], final, bootstrap);
    }
}

/* Run SCRIPT in virsh with libvirt's QEMU driver in it, which has its files in the folder
 * "libvirt". What went wrong; NULL: nothing did. */
static char *
embedded (const char *script)
{
  g_autofree char *uri = g_strdup_printf ("qemu:///embed?root=%s/l", scratch);

  return check_run ((const char *const[]){"virsh", "-q", "-c", uri, script, NULL}, "", 120);
}

/* "virtio-net-pci pci.1 00.0" from libvirt's -device '{"driver":...}'; NULL: it has no PCI address.
 */
static char *
libvirt_device (const char *text)
{
  g_autoptr (JsonParser) parser = json_parser_new ();
  JsonObject *object;
  const char *bus, *addr;
  guint slot = 0, function = 0;

  g_assert_true (json_parser_load_from_data (parser, text, -1, NULL));
  object = json_node_get_object (json_parser_get_root (parser));
  bus = json_object_get_string_member_with_default (object, "bus", NULL);
  addr = json_object_get_string_member_with_default (object, "addr", NULL);
  if (bus == NULL || addr == NULL || sscanf (addr, "%x.%x", &slot, &function) < 1)
    return NULL;
  return g_strdup_printf ("%s %s %02x.%x", json_object_get_string_member (object, "driver"), bus,
                          slot, function);
}

/* The same of ours. What stands alone behind a root port has address 0. */
static char *
our_device (const char *text)
{
  g_auto (GStrv) options = g_strsplit (text, ",", -1);
  g_autofree char *bus = NULL;
  guint slot = 0, function = 0, port;
  gboolean addr = FALSE;

  for (char **option = options; *option != NULL; option++)
    if (sscanf (*option, "bus=port%u", &port) == 1)
      bus = g_strdup_printf ("pci.%u", port + 1);
    else if (g_str_has_prefix (*option, "bus=pci"))
      bus = g_strdup (*option + strlen ("bus="));
    else if (sscanf (*option, "addr=0x%x.%x", &slot, &function) >= 1)
      addr = TRUE;
  if (bus == NULL || (!addr && !g_str_has_prefix (bus, "pci.")))
    return NULL;
  return g_strdup_printf ("%s %s %02x.%x", options[0], bus, slot, function);
}

/* DOMAIN's XML for a host that has neither KVM nor networks: all that counts here stays. */
static char *
save_for_emulation (const H2kDomain *domain)
{
  g_autofree char *xml = h2k_domain_to_xml (domain);
  char *path = g_build_filename (scratch, "emulated.xml", NULL);
  g_autoptr (GString) text = g_string_new (xml);

  g_string_replace (text, "type=\"kvm\"", "type=\"qemu\"", 1);
  g_string_replace (text, "<interface type=\"network\"", "<interface type=\"user\"", 0);
  g_string_replace (text, "<source network=\"default\"/>", "", 0);
  g_string_replace (text, "mode=\"host-passthrough\" check=\"none\" migratable=\"on\"",
                    "mode=\"maximum\"", 1);
  g_string_replace (text, "<vpindex state=\"on\"/>", "", 1);
  for (const char *const *needs = (const char *const[]){"synic", "stimer", "tlbflush", "ipi", NULL};
       *needs != NULL; needs++)
    {
      g_autofree char *feature = g_strdup_printf ("<%s state=\"on\"/>", *needs);

      g_string_replace (text, feature, "", 1);
    }
  g_assert_true (g_file_set_contents (path, text->str, -1, NULL));
  return path;
}

/* What libvirt has told QEMU, as libvirt_device() has it. */
static GHashTable *
start_in_libvirt (const Release *r, const H2kDomain *domain)
{
  GHashTable *places = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autofree char *path = save_for_emulation (domain);
  g_autofree char *script = g_strdup_printf ("define %s; start win --paused", path);
  g_autofree char *log = g_build_filename (scratch, "l", "log", "qemu", "win.log", NULL);
  g_autofree char *failure = embedded (script);
  g_autofree char *text = NULL;
  g_autoptr (GRegex) regex = g_regex_new ("-device '(\\{.*\\})'", 0, 0, NULL);
  g_autoptr (GMatchInfo) match = NULL;

  if (failure != NULL)
    g_error ("%s: %s", r->name, failure);
  failure = embedded ("undefine win --nvram; destroy win");
  if (failure != NULL)
    g_error ("%s: %s", r->name, failure);
  g_assert_true (g_file_get_contents (log, &text, NULL, NULL));
  g_regex_match (regex, text, 0, &match);
  for (; g_match_info_matches (match); g_match_info_next (match, NULL))
    {
      g_autofree char *device = g_match_info_fetch (match, 1);
      char *found = libvirt_device (device);

      if (found != NULL)
        g_hash_table_add (places, found);
    }
  g_unlink (log);
  return places;
}

/* Each device of our arguments is where libvirt has it, which knows the XML alone. */
static void
compare_places (const Release *r, const H2kDomain *domain)
{
  g_autoptr (GHashTable) places = start_in_libvirt (r, domain);
  g_autoptr (GPtrArray) args = h2k_domain_qemu_args (domain, NULL, NULL);
  guint compared = 0;

  for (guint i = 1; i < args->len; i++)
    {
      g_autofree char *device
          = strcmp (args->pdata[i - 1], "-device") == 0 ? our_device (args->pdata[i]) : NULL;

      if (device == NULL)
        continue;
      if (!g_hash_table_contains (places, device))
        {
          g_autofree char **all = (char **)g_hash_table_get_keys_as_array (places, NULL);
          g_autofree char *list = g_strjoinv ("\n", all);

          g_error ("%s: \"%s\" is not where libvirt has it:\n%s", r->name, device, list);
        }
      compared++;
    }
  /* Two NICs, three VirtIO devices, one disk or its controller at least. */
  g_assert_cmpuint (compared, >=, 6);
}

/* A real libvirt defines and starts the definitions of both phases. */
static void
test_libvirt_starts (void)
{
  static const char *const names[] = {"XP", "Server 2008", "7", "8", "Server 2022"};
  static const H2kBus buses[] = {H2K_BUS_VIRTIO_BLK, H2K_BUS_VIRTIO_SCSI};
  g_autofree char *etc = g_build_filename (scratch, "l", "etc", NULL);
  g_autofree char *conf = g_build_filename (etc, "qemu.conf", NULL);
  g_autofree char *failure = NULL;

  /* There is no other daemon that would keep logs. When root runs this, QEMU is to reach the disks
   * here as well. */
  g_assert_cmpint (g_mkdir_with_parents (etc, 0700), ==, 0);
  g_assert_true (g_file_set_contents (conf,
                                      geteuid () != 0
                                          ? "stdio_handler = \"file\"\n"
                                          : "stdio_handler = \"file\"\nuser = \"root\"\n"
                                            "group = \"root\"\nsecurity_driver = \"none\"\n"
                                            "namespaces = []\ncgroup_controllers = []\n",
                                      -1, NULL));
  failure = embedded ("version");
  if (failure != NULL)
    {
      g_test_skip ("virsh has no embedded QEMU driver (package libvirt-daemon-driver-qemu)");
      return;
    }
  make_files ();
  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    {
      const Release *r = release (names[i]);
      g_autoptr (H2kDomain) final
          = make (r, "x86_64", i % 2 ? H2K_FIRMWARE_UEFI : H2K_FIRMWARE_BIOS, buses[i % 2]);
      g_autoptr (H2kDomain) bootstrap = make_bootstrap (final);

      compare_places (r, final);
      compare_places (r, bootstrap);
    }
}

/* --- QEMU ------------------------------------------------------------------------------------- */

/* QEMU makes the machine from the arguments, whichever accelerator they are for. */
static void
start_qemu (const H2kDomain *domain, const char *program)
{
  static const char *const more[]
      = {"-nodefaults", "-no-user-config", "-accel", "tcg", "-display", "none",
         "-S",          "-monitor",        "stdio",  NULL};
  g_autoptr (GPtrArray) args = h2k_domain_qemu_args (domain, NULL, NULL);
  g_autofree char *failure = NULL;

  g_ptr_array_insert (args, 0, g_strdup (program));
  for (gsize i = 0; more[i] != NULL; i++)
    g_ptr_array_add (args, g_strdup (more[i]));
  g_ptr_array_add (args, NULL);
  failure = check_run ((const char *const *)args->pdata, "quit\n", 60);
  if (failure != NULL)
    g_error ("%s", failure);
}

static void
test_qemu_accepts (gconstpointer data)
{
  const char *arch = data;
  const char *emulator = h2k_arch_get (arch)->emulator;
  g_autofree char *program = g_find_program_in_path (emulator);

  if (program == NULL)
    {
      g_autofree char *why = g_strconcat (emulator, " is not installed", NULL);

      g_test_skip (why);
      return;
    }
  make_files ();
  for (gsize i = 0; i < G_N_ELEMENTS (releases); i++)
    {
      g_autoptr (H2kDomain) final = make (&releases[i], arch, H2K_FIRMWARE_BIOS,
                                          i % 2 ? H2K_BUS_VIRTIO_BLK : H2K_BUS_VIRTIO_SCSI);
      g_autoptr (H2kDomain) bootstrap = make_bootstrap (final);

      if (strcmp (arch, "aarch64") == 0 && releases[i].windows.major < 10)
        continue;
      start_qemu (final, program);
      start_qemu (bootstrap, program);
    }
}

/* The command for people starts a machine; its disk powers it off. */
static void
test_command_starts (void)
{
  static const guint8 power_off[] = {0xb8, 0x00, 0x20, 0xba, 0x04, 0x06, 0xef, 0xf4};
  g_autofree char *program = g_find_program_in_path ("qemu-system-x86_64");
  g_autofree char *path = g_build_filename (scratch, "c,1.raw", NULL);
  g_autofree guint8 *image = g_malloc0 (1 << 20);

  if (program == NULL)
    {
      g_test_skip ("qemu-system-x86_64 is not installed");
      return;
    }
  make_files ();
  memcpy (image, power_off, sizeof power_off);
  image[510] = 0x55;
  image[511] = 0xaa;
  g_assert_true (g_file_set_contents (path, (char *)image, 1 << 20, NULL));
  for (guint old = 0; old < 2; old++)
    {
      g_autoptr (H2kDomain) final
          = make (release ("Server 2022"), "x86_64", H2K_FIRMWARE_BIOS, H2K_BUS_VIRTIO_BLK);
      g_autoptr (H2kDomain) bootstrap = NULL;
      g_autofree char *command = NULL, *failure = NULL;
      char *kvm;

      final->i440fx = old;
      bootstrap = make_bootstrap (final);
      command = h2k_domain_qemu_command (bootstrap);
      kvm = strstr (command, "-accel kvm");
      g_assert_nonnull (kvm);
      memset (kvm, ' ', strlen ("-accel kvm"));
      failure = check_run ((const char *const[]){"sh", "-c", command, NULL}, "", 60);
      if (failure != NULL)
        g_error ("%s: %s", command, failure);
    }
}

static int
remove_tree (const char *path)
{
  return check_run ((const char *const[]){"rm", "-r", path, NULL}, "", 60) == NULL ? 0 : 1;
}

int
main (int argc, char **argv)
{
  int failed;

  g_test_init (&argc, &argv, NULL);
  /* Not in TMPDIR, which may be deep: libvirt makes sockets there, whose names are 107 bytes at
   * most.
   */
  scratch = g_mkdtemp (g_strdup ("/tmp/h2k-XXXXXX"));
  g_assert_nonnull (scratch);
  g_test_add_func ("/domain/windows/schema", test_schema);
  g_test_add_func ("/domain/windows/schema-large", test_schema_large);
  g_test_add_func ("/domain/windows/machine", test_machine);
  g_test_add_func ("/domain/windows/clock", test_clock);
  g_test_add_func ("/domain/windows/enlightenments", test_enlightenments);
  g_test_add_func ("/domain/windows/enlightenments-of-qemu", test_enlightenments_of_qemu);
  g_test_add_func ("/domain/windows/cpus", test_cpus);
  g_test_add_func ("/domain/windows/devices", test_devices);
  g_test_add_func ("/domain/windows/security", test_security);
  g_test_add_func ("/domain/windows/osinfo", test_osinfo_ids);
  g_test_add_func ("/domain/windows/phases", test_phases);
  g_test_add_func ("/domain/windows/ide-room", test_ide_room);
  g_test_add_func ("/domain/windows/macs", test_macs);
  g_test_add_func ("/domain/windows/virsh-define", test_virsh_define);
  g_test_add_func ("/domain/windows/libvirt-starts", test_libvirt_starts);
  g_test_add_data_func ("/domain/windows/qemu-accepts/x86_64", "x86_64", test_qemu_accepts);
  g_test_add_data_func ("/domain/windows/qemu-accepts/aarch64", "aarch64", test_qemu_accepts);
  g_test_add_func ("/domain/windows/command-starts", test_command_starts);
  failed = g_test_run ();
  failed |= remove_tree (scratch);
  g_free (scratch);
  return failed;
}
