/* test-domain.c - the libvirt XML is valid and right, osinfo ids exist, QEMU's arguments quote.
 *
 * The schema check runs libvirt's virt-xml-validate; identifiers are compared with the installed
 * osinfo-db. Both say so when the host lacks them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "checks.h"
#include "domain/arch.h"
#include "domain/firmware.h"
#include "domain/qemu.h"

#include <glib/gstdio.h>
#include <stdlib.h>
#include <unistd.h>

static char *scratch;

/* --- XML -------------------------------------------------------------------------------------- */

static H2kDomain *
sample (const char *arch, H2kFirmware firmware)
{
  H2kDomain *domain = h2k_domain_new ("web server/1 <&\"'>\n\x1b[31m\xff");

  domain->description = g_strdup ("from \"a\" & <b>\x07 ]]>");
  domain->osinfo_id = g_strdup ("http://debian.org/debian/12");
  g_free (domain->arch);
  domain->arch = g_strdup (arch);
  domain->firmware = firmware;
  h2k_domain_add_disk (domain, "/srv/vm & co/<root>,1.qcow2", "qcow2", H2K_BUS_VIRTIO_BLK);
  h2k_domain_add_disk (domain, "/srv/data.raw", "raw", H2K_BUS_VIRTIO_SCSI);
  h2k_domain_add_disk (domain, "/srv/more.raw", "raw", H2K_BUS_VIRTIO_SCSI);
  h2k_domain_add_disk (domain, "/srv/old.raw", "raw", H2K_BUS_SATA);
  h2k_domain_add_nic (domain, "00:50:56:AB:cd:01", NULL);
  h2k_domain_add_nic (domain, NULL, "net & more");
  return domain;
}

static void
test_schema (void)
{
  static const char *const arches[]
      = {"x86_64", "i686", "aarch64", "riscv64", "ppc64le", "s390x", "unknown"};

  if (!check_have_schema ())
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (arches); i++)
    for (int firmware = H2K_FIRMWARE_BIOS; firmware <= H2K_FIRMWARE_UEFI; firmware++)
      {
        g_autoptr (H2kDomain) domain = sample (arches[i], (H2kFirmware)firmware);
        g_autofree char *xml = NULL, *message = NULL;

        domain->secure_boot = i % 2 == 0;
        domain->tpm = i != 5; /* s390x has none */
        ((H2kDomainNic *)domain->nics->pdata[0])->was = g_strdup ("<VM> --- Network--");
        xml = h2k_domain_to_xml (domain);
        if (!check_schema (scratch, xml, &message))
          g_error ("%s: %s\n%s", arches[i], message, xml);
      }
}

/* Secure Boot takes the right machine and firmware; the network's old name stays readable. */
static void
test_security (void)
{
  g_autoptr (H2kDomain) domain = sample ("x86_64", H2K_FIRMWARE_UEFI);
  g_autofree char *with = NULL, *without = NULL, *bios = NULL;

  without = h2k_domain_to_xml (domain);
  g_assert_nonnull (strstr (without, "enabled=\"no\" name=\"secure-boot\""));
  g_assert_null (strstr (without, "<loader"));
  g_assert_null (strstr (without, "<tpm"));
  g_assert_null (strstr (without, "<!--"));

  domain->secure_boot = domain->tpm = TRUE;
  ((H2kDomainNic *)domain->nics->pdata[1])->was = g_strdup ("a--b");
  with = h2k_domain_to_xml (domain);
  g_assert_nonnull (strstr (with, "enabled=\"yes\" name=\"enrolled-keys\""));
  g_assert_nonnull (strstr (with, "enabled=\"yes\" name=\"secure-boot\""));
  g_assert_nonnull (strstr (with, "<loader secure=\"yes\"/>"));
  g_assert_nonnull (strstr (with, "<smm state=\"on\"/>"));
  g_assert_nonnull (strstr (with, "<tpm model=\"tpm-crb\">"));
  g_assert_nonnull (strstr (with, "<backend type=\"emulator\" version=\"2.0\"/>"));
  g_assert_nonnull (strstr (with, "<!-- was connected to \"a -b\" -->"));

  domain->firmware = H2K_FIRMWARE_BIOS;
  bios = h2k_domain_to_xml (domain);
  g_assert_null (strstr (bios, "smm"));
  g_assert_null (strstr (bios, "<loader"));
}

/* The check above is worth something only when it can fail. */
static void
test_schema_refuses (void)
{
  g_autoptr (H2kDomain) domain = sample ("x86_64", H2K_FIRMWARE_BIOS);
  g_autofree char *xml = h2k_domain_to_xml (domain);
  g_autofree char *message = NULL;
  char *bus;

  if (!check_have_schema ())
    return;
  bus = strstr (xml, "bus=\"virtio\"");
  g_assert_nonnull (bus);
  memcpy (bus, "bus=\"virtuo\"", strlen ("bus=\"virtuo\""));
  g_assert_false (check_schema (scratch, xml, &message));
}

static void
test_xml_content (void)
{
  g_autoptr (H2kDomain) domain = sample ("x86_64", H2K_FIRMWARE_BIOS);
  g_autofree char *xml = h2k_domain_to_xml (domain);
  g_autofree char *again = h2k_domain_to_xml (domain);

  g_assert_cmpstr (xml, ==, again);
  check_assert_xpath (xml, "/domain/@type", "kvm");
  check_assert_xpath (xml, "/domain/os/type/@machine", "q35");
  check_assert_xpath (xml, "count(/domain/os/@firmware)", "0");
  check_assert_xpath (xml, "/domain/memory", "2048");
  check_assert_xpath (xml, "/domain/memory/@unit", "MiB");
  check_assert_xpath (xml, "/domain/metadata/o:libosinfo/o:os/@id", "http://debian.org/debian/12");
  check_assert_xpath (xml, "/domain/devices/disk[1]/source/@file", "/srv/vm & co/<root>,1.qcow2");
  check_assert_xpath (xml, "/domain/devices/disk[1]/target/@dev", "vda");
  check_assert_xpath (xml, "/domain/devices/disk[1]/driver/@type", "qcow2");
  check_assert_xpath (xml, "/domain/devices/disk[1]/boot/@order", "1");
  check_assert_xpath (xml, "/domain/devices/disk[2]/target/@bus", "scsi");
  check_assert_xpath (xml, "/domain/devices/disk[2]/target/@dev", "sda");
  check_assert_xpath (xml, "/domain/devices/disk[3]/target/@dev", "sdb");
  check_assert_xpath (xml, "/domain/devices/disk[4]/target/@dev", "sdc");
  check_assert_xpath (xml, "/domain/devices/controller[@type='scsi']/@model", "virtio-scsi");
  check_assert_xpath (xml, "/domain/devices/interface[1]/mac/@address", "00:50:56:ab:cd:01");
  check_assert_xpath (xml, "/domain/devices/interface[1]/source/@network", "default");
  check_assert_xpath (xml, "count(/domain/devices/interface[2]/mac)", "0");
  check_assert_xpath (xml, "/domain/devices/interface[2]/source/@network", "net & more");
  check_assert_xpath (xml, "/domain/devices/channel/target/@name", "org.qemu.guest_agent.0");
  check_assert_xpath (xml, "/domain/devices/graphics/@listen", "127.0.0.1");
  check_assert_xpath (xml, "/domain/devices/rng/backend", "/dev/urandom");
}

static void
test_xml_uefi (void)
{
  g_autoptr (H2kDomain) x86 = sample ("x86_64", H2K_FIRMWARE_UEFI);
  g_autoptr (H2kDomain) arm = sample ("aarch64", H2K_FIRMWARE_BIOS);
  g_autofree char *x86_xml = h2k_domain_to_xml (x86);
  g_autofree char *arm_xml = h2k_domain_to_xml (arm);

  check_assert_xpath (x86_xml, "/domain/os/@firmware", "efi");
  check_assert_xpath (x86_xml, "/domain/os/firmware/feature[@name='secure-boot']/@enabled", "no");
  check_assert_xpath (arm_xml, "/domain/os/@firmware", "efi");
  check_assert_xpath (arm_xml, "/domain/os/type/@machine", "virt");
}

/* What a clone's machine has beyond others: the disk's sectors, no cache, variables of its own. */
static H2kDomain *
sample_clone (void)
{
  H2kDomain *domain = sample ("x86_64", H2K_FIRMWARE_UEFI);
  H2kDomainDisk *disk = domain->disks->pdata[0];

  domain->uuid = g_strdup ("5ce3a405-90c6-4e51-8dca-02d5cfa61852");
  domain->nvram = g_strdup ("/srv/clones/a & b/nvram.fd");
  domain->vcpus = 7;
  domain->memory_mib = 3333;
  disk->logical_block = 512;
  disk->physical_block = 4096;
  disk->direct = TRUE;
  disk->place = 3;
  ((H2kDomainNic *)domain->nics->pdata[1])->model = H2K_NIC_E1000E;
  return domain;
}

static void
test_xml_clone (void)
{
  g_autoptr (H2kDomain) domain = sample_clone ();
  g_autofree char *xml = h2k_domain_to_xml (domain);
  g_autofree char *message = NULL;

  check_assert_xpath (xml, "/domain/os/nvram", "/srv/clones/a & b/nvram.fd");
  check_assert_xpath (xml, "/domain/devices/disk[1]/driver/@cache", "none");
  check_assert_xpath (xml, "/domain/devices/disk[1]/blockio/@logical_block_size", "512");
  check_assert_xpath (xml, "/domain/devices/disk[1]/blockio/@physical_block_size", "4096");
  check_assert_xpath (xml, "count(/domain/devices/disk/blockio)", "1");
  if (check_have_schema () && !check_schema (scratch, xml, &message))
    g_error ("%s\n%s", message, xml);
}

/* The machine that is made of the JSON is the one that it was made of. */
static void
test_json (void)
{
  g_autoptr (H2kDomain) linux_vm = sample_clone ();
  g_autoptr (H2kDomain) windows = sample_clone ();
  const H2kDomainWindows release
      = {.major = 6, .minor = 1, .build = 7601, .server = TRUE, .rtc_utc = TRUE};
  H2kDomain *const all[] = {linux_vm, windows};

  h2k_domain_set_windows (windows, &release);
  for (guint i = 0; i < G_N_ELEMENTS (all); i++)
    {
      g_autoptr (JsonObject) object = NULL;
      g_autoptr (H2kDomain) again = NULL;
      g_autofree char *before = NULL, *after = NULL;

      g_clear_pointer (&all[i]->description, g_free);
      /* JSON holds UTF-8 only. */
      g_free (all[i]->name);
      all[i]->name = g_strdup ("web <server>");
      object = h2k_domain_to_json (all[i]);
      again = h2k_domain_from_json (object);
      before = h2k_domain_to_xml (all[i]);
      after = h2k_domain_to_xml (again);
      g_assert_cmpstr (after, ==, before);
    }
}

/* Whatever stands there, a machine is made of it. */
static void
test_json_of_others (void)
{
  static const char *const texts[] = {
      "{}",
      "{\"name\": 1, \"disks\": {}, \"nics\": [1, null, {\"mac\": []}], \"windows\": 3}",
      "{\"memory-mib\": -5, \"vcpus\": 99999999999, \"arch\": \"../x\"}",
      "{\"disks\": [{\"bus\": \"?\"}]}",
      "{\"disks\": [{\"path\": \"/a\", \"format\": \"raw\", \"place\": 1e300}]}",
  };

  for (guint i = 0; i < G_N_ELEMENTS (texts); i++)
    {
      g_autoptr (JsonNode) node = json_from_string (texts[i], NULL);
      g_autoptr (H2kDomain) domain = h2k_domain_from_json (json_node_get_object (node));
      g_autofree char *xml = h2k_domain_to_xml (domain);
      g_assert_nonnull (strstr (xml, "<domain"));
    }
}

static void
test_names (void)
{
  static const struct
  {
    const char *name, *expected;
  } cases[] = {
      {"web", "web"},       {"web server/1", "web-server-1"},
      {"../../etc", "etc"}, {"-rf", "rf"},
      {"", "vm"},           {"///", "vm"},
      {"a\nb", "a-b"},      {"büro_1.2", "büro_1.2"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (H2kDomain) domain = h2k_domain_new (cases[i].name);
      g_autofree char *xml = h2k_domain_to_xml (domain);

      check_assert_xpath (xml, "/domain/name", cases[i].expected);
    }
}

static void
test_uuid_is_stable (void)
{
  g_autoptr (H2kDomain) a = sample ("x86_64", H2K_FIRMWARE_BIOS);
  g_autoptr (H2kDomain) b = sample ("x86_64", H2K_FIRMWARE_BIOS);
  g_autofree char *first = NULL, *second = NULL, *xml_a = h2k_domain_to_xml (a), *xml_b = NULL;

  h2k_domain_add_disk (b, "/srv/one-more.raw", "raw", H2K_BUS_SATA);
  xml_b = h2k_domain_to_xml (b);
  first = check_xpath (xml_a, "/domain/uuid");
  second = check_xpath (xml_b, "/domain/uuid");
  g_assert_true (g_uuid_string_is_valid (first));
  g_assert_cmpint (first[14], ==, '5');
  g_assert_cmpstr (first, !=, second);
}

static void
test_disk_targets (void)
{
  static const struct
  {
    guint index;
    const char *name;
  } cases[] = {{0, "vda"}, {25, "vdz"}, {26, "vdaa"}, {701, "vdzz"}, {702, "vdaaa"}};

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *name = h2k_disk_target ("vd", cases[i].index);

      g_assert_cmpstr (name, ==, cases[i].name);
    }
}

/* --- libosinfo -------------------------------------------------------------------------------- */

static void
test_osinfo_ids (void)
{
  static const struct
  {
    const char *distro, *version, *id;
  } cases[] = {
      {"debian", "12", "http://debian.org/debian/12"},
      {"debian", "12.4", "http://debian.org/debian/12"},
      {"debian", "99", "http://debian.org/debian/13"},
      {"debian", "", "http://debian.org/debian/testing"},
      {"debian", NULL, "http://debian.org/debian/testing"},
      {"ubuntu", "22.04", "http://ubuntu.com/ubuntu/22.04"},
      {"rhel", "8.4", "http://redhat.com/rhel/8.4"},
      {"rhel", "8.10", "http://redhat.com/rhel/8.10"},
      {"rhel", "8.99", "http://redhat.com/rhel/8.10"},
      {"centos", "7", "http://centos.org/centos/7.0"},
      {"centos", "8", "http://centos.org/centos/8"},
      {"centos", "9", "http://centos.org/centos-stream/9"},
      {"rocky", "9.3", "http://rockylinux.org/rocky/9"},
      {"almalinux", "9.3", "http://almalinux.org/almalinux/9"},
      {"ol", "7.9", "http://oracle.com/ol/7.9"},
      {"sles", "12.5", "http://suse.com/sles/12.5"},
      {"sles", "15", "http://suse.com/sle/15"},
      {"sles", "15.4", "http://suse.com/sle/15.4"},
      {"sled", "11.4", "http://suse.com/sled/11.4"},
      {"opensuse-leap", "15.4", "http://opensuse.org/opensuse/15.4"},
      {"opensuse-tumbleweed", "20240101", "http://opensuse.org/opensuse/tumbleweed"},
      {"arch", "", "http://archlinux.org/archlinux/rolling"},
      {"alpine", "3.17.1", "http://alpinelinux.org/alpinelinux/3.17"},
      {"fedora", "37", "http://fedoraproject.org/fedora/37"},
      {"debian", "99999999999999999999999", "http://debian.org/debian/13"},
      {"plan9", "4", NULL},
      {NULL, NULL, NULL},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *id = h2k_domain_osinfo_id (cases[i].distro, cases[i].version);

      g_assert_cmpstr (id, ==, cases[i].id);
    }
}

/* Each release that osinfo-db has of these distributions is found by its own number, whatever
 * version of the database is installed. */
static void
test_osinfo_db_is_covered (void)
{
  static const struct
  {
    const char *distro, *base;
    gboolean whole; /* the database's minor releases are not used */
  } distros[] = {
      {"debian", "http://debian.org/debian/", FALSE},
      {"ubuntu", "http://ubuntu.com/ubuntu/", FALSE},
      {"fedora", "http://fedoraproject.org/fedora/", FALSE},
      {"rhel", "http://redhat.com/rhel/", FALSE},
      {"centos", "http://centos.org/centos/", FALSE},
      {"centos-stream", "http://centos.org/centos-stream/", FALSE},
      {"rocky", "http://rockylinux.org/rocky/", TRUE},
      {"almalinux", "http://almalinux.org/almalinux/", TRUE},
      {"ol", "http://oracle.com/ol/", FALSE},
      {"sles", "http://suse.com/sles/", FALSE},
      {"sled", "http://suse.com/sled/", FALSE},
      {"sles", "http://suse.com/sle/", FALSE},
      {"alpine", "http://alpinelinux.org/alpinelinux/", FALSE},
  };
  g_autoptr (GHashTable) ids = check_osinfo_db ();
  GHashTableIter iter;
  gpointer key;
  guint compared = 0;

  if (g_hash_table_size (ids) == 0)
    {
      g_test_skip ("osinfo-db is not installed in " CHECK_OSINFO);
      return;
    }
  for (gsize i = 0; i < G_N_ELEMENTS (distros); i++)
    {
      g_hash_table_iter_init (&iter, ids);
      while (g_hash_table_iter_next (&iter, &key, NULL))
        {
          const char *version = (const char *)key + strlen (distros[i].base);
          g_autofree char *id = NULL;

          /* Before os-release nobody can be asked for Red Hat Enterprise Linux 2.1 and Debian 1. */
          if (!g_str_has_prefix (key, distros[i].base)
              || version[strspn (version, "0123456789.")] != '\0' || atoi (version) < 3
              || (distros[i].whole && strchr (version, '.') != NULL)
              || strcmp (key, "http://redhat.com/rhel/3") == 0
              || g_str_has_prefix (key, "http://redhat.com/rhel/3."))
            continue;
          id = h2k_domain_osinfo_id (distros[i].distro, version);
          g_assert_cmpstr (id, ==, key);
          compared++;
        }
    }
  g_test_message ("%u identifiers compared", compared);
  g_assert_cmpuint (compared, >, 100);
}

/* What is said of a release that osinfo-db knows is something that osinfo-db has. */
static void
test_osinfo_ids_exist (void)
{
  static const char *const known[][2] = {
      {"debian", ""},       {"debian", "11"},      {"ubuntu", "20.04"},
      {"fedora", "36"},     {"fedora", ""},        {"rhel", "8.7"},
      {"rhel", "7.9"},      {"centos", "7"},       {"centos", "8"},
      {"centos", "9"},      {"rocky", "8.6"},      {"almalinux", "9.0"},
      {"ol", "8.5"},        {"ol", "9.0"},         {"scientific", "7.6"},
      {"sles", "15.4"},     {"sles_sap", "12.5"},  {"opensuse-leap", "15.4"},
      {"opensuse", "13.2"}, {"arch", ""},          {"opensuse-tumbleweed", "20221101"},
      {"manjaro", "22.0"},  {"gentoo", "2.13"},    {"void", ""},
      {"alpine", "3.16.2"}, {"altlinux", "10.0"},  {"mageia", "8"},
      {"nixos", "22.05"},   {"slackware", "14.2"}, {"nixos", ""},
  };
  g_autoptr (GHashTable) ids = check_osinfo_db ();

  if (g_hash_table_size (ids) == 0)
    {
      g_test_skip ("osinfo-db is not installed in " CHECK_OSINFO);
      return;
    }
  for (gsize i = 0; i < G_N_ELEMENTS (known); i++)
    {
      g_autofree char *id = h2k_domain_osinfo_id (known[i][0], known[i][1]);

      if (!g_hash_table_contains (ids, id))
        g_error ("%s %s gives %s, which osinfo-db does not have", known[i][0], known[i][1], id);
    }
}

/* --- QEMU ------------------------------------------------------------------------------------- */

static char *
joined_args (const H2kDomain *domain, const H2kQemuSetup *setup)
{
  g_autoptr (GPtrArray) args = h2k_qemu_args (domain, setup);

  g_ptr_array_add (args, NULL);
  return g_strjoinv (" ", (char **)args->pdata);
}

static void
assert_has (const char *text, const char *part)
{
  if (strstr (text, part) == NULL)
    g_error ("no \"%s\" in: %s", part, text);
}

static void
test_qemu_args (void)
{
  g_autoptr (H2kDomain) domain = sample ("x86_64", H2K_FIRMWARE_BIOS);
  H2kQemuSetup setup = {.throwaway = TRUE};
  g_autofree char *args = joined_args (domain, &setup);
  g_autoptr (GPtrArray) plain = h2k_domain_qemu_args (domain, "/fw/code.fd", "/fw/v,1.fd");

  assert_has (args, "file.filename=/srv/vm & co/<root>,,1.qcow2");
  assert_has (args, "-netdev user,id=net0,restrict=on");
  assert_has (args, "mac=00:50:56:ab:cd:01,bus=port0");
  assert_has (args, "scsi-hd,drive=disk2,bus=scsi0.0,channel=0,scsi-id=0,lun=1,bootindex=3");
  assert_has (args, "ide-hd,drive=disk3,bus=ide.0,bootindex=4");
  assert_has (args, "cache.no-flush=on");
  g_assert_null (strstr (args, "pflash"));

  g_ptr_array_add (plain, NULL);
  g_free (args);
  args = g_strjoinv (" ", (char **)plain->pdata);
  assert_has (args, "if=pflash,unit=1,format=raw,file=/fw/v,,1.fd");
  g_assert_null (strstr (args, "restrict=on"));
  g_assert_null (strstr (args, "no-flush"));
}

/* QEMU itself accepts the arguments, commas, colons and more disks than a controller has included;
 * it is started stopped, told nothing, and ends by itself through its monitor. */
static void
test_qemu_accepts (void)
{
  static const char *const names[]
      = {"a,b.raw", "nbd:x.raw", "json:{}.raw", "plain.raw", "c.raw", "d.raw",
         "e.raw",   "f.raw",     "g.raw",       "h.raw",     "i.raw"};
  g_autofree char *program = g_find_program_in_path ("qemu-system-x86_64");
  g_autoptr (H2kDomain) domain = h2k_domain_new ("x,y");
  g_autoptr (GPtrArray) args = NULL;
  g_autoptr (GSubprocess) process = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree char *output = NULL;

  if (program == NULL)
    {
      g_test_skip ("qemu-system-x86_64 is not installed");
      return;
    }
  domain->memory_mib = 64;
  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autofree char *path = g_build_filename (scratch, names[i], NULL);

      g_assert_true (g_file_set_contents (path, "", 0, NULL));
      g_assert_cmpint (truncate (path, 1 << 20), ==, 0);
      h2k_domain_add_disk (domain, path, "raw", H2K_BUS_SATA);
    }
  for (guint i = 0; i < 2; i++)
    {
      ((H2kDomainDisk *)domain->disks->pdata[i])->bus = H2K_BUS_VIRTIO_SCSI;
      ((H2kDomainDisk *)domain->disks->pdata[2 + i])->bus = H2K_BUS_VIRTIO_BLK;
    }
  h2k_domain_add_nic (domain, "52:54:00:12:34:56", NULL);
  args = h2k_domain_qemu_args (domain, NULL, NULL);
  g_ptr_array_insert (args, 0, g_strdup (program));
  for (const char *const *more = (const char *const[]){"-nodefaults", "-no-user-config", "-display",
                                                       "none", "-S", "-monitor", "stdio", NULL};
       *more != NULL; more++)
    g_ptr_array_add (args, g_strdup (*more));
  g_ptr_array_add (args, NULL);
  process = g_subprocess_newv ((const char *const *)args->pdata,
                               G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE
                                   | G_SUBPROCESS_FLAGS_STDERR_MERGE,
                               &error);
  g_assert_no_error (error);
  g_subprocess_communicate_utf8 (process, "info block\nquit\n", NULL, &output, NULL, &error);
  g_assert_no_error (error);
  if (!g_subprocess_get_successful (process))
    g_error ("%s", output);
  assert_has (output, "a,b.raw");
  assert_has (output, "nbd:x.raw");
}

static void
test_qemu_command (void)
{
  g_autoptr (H2kDomain) domain = sample ("x86_64", H2K_FIRMWARE_BIOS);
  g_autofree char *command = h2k_domain_qemu_command (domain);
  g_auto (GStrv) words = NULL;
  g_autoptr (GPtrArray) args = h2k_domain_qemu_args (domain, NULL, NULL);
  g_autoptr (GError) error = NULL;
  g_autofree char *single = NULL;
  g_auto (GStrv) parts = g_strsplit (command, "\\\n", -1);

  /* Read as a shell reads it, the command has the arguments unchanged. */
  single = g_strjoinv ("", parts);
  g_shell_parse_argv (single, NULL, &words, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (words[0], ==, "qemu-system-x86_64");
  g_assert_cmpuint (g_strv_length (words), ==, args->len + 6);
  for (guint i = 0; i < args->len; i++)
    g_assert_cmpstr (words[5 + i], ==, g_ptr_array_index (args, i));
}

/* The command that people get starts a machine: QEMU's default devices are where nothing of ours
 * is. The guest is a boot sector that powers the machine off, so the command ends by itself. */
static void
test_command_starts (void)
{
  static const guint8 power_off[] = {0xb8, 0x00, 0x20, 0xba, 0x04, 0x06, 0xef, 0xf4};
  g_autofree char *program = g_find_program_in_path ("qemu-system-x86_64");
  g_autofree char *path = g_build_filename (scratch, "off.raw", NULL);
  g_autofree guint8 *image = g_malloc0 (1 << 20);
  g_autoptr (H2kDomain) domain = h2k_domain_new ("off");
  g_autofree char *command = NULL, *failure = NULL;
  char *kvm;

  if (program == NULL)
    {
      g_test_skip ("qemu-system-x86_64 is not installed");
      return;
    }
  memcpy (image, power_off, sizeof power_off);
  image[510] = 0x55;
  image[511] = 0xaa;
  g_assert_true (g_file_set_contents (path, (char *)image, 1 << 20, NULL));
  domain->memory_mib = 64;
  h2k_domain_add_disk (domain, path, "raw", H2K_BUS_VIRTIO_BLK);
  h2k_domain_add_nic (domain, "52:54:00:12:34:56", NULL);
  command = h2k_domain_qemu_command (domain);
  /* KVM may be there and not work. */
  kvm = strstr (command, "-accel kvm");
  g_assert_nonnull (kvm);
  memset (kvm, ' ', strlen ("-accel kvm"));
  failure = check_run ((const char *const[]){"sh", "-c", command, NULL}, "", 60);
  if (failure != NULL)
    g_error ("%s: %s", command, failure);
}

static void
write_file (const char *root, const char *path, const char *text)
{
  g_autofree char *full = g_strconcat (root, path, NULL);
  g_autofree char *dir = g_path_get_dirname (full);

  g_assert_cmpint (g_mkdir_with_parents (dir, 0700), ==, 0);
  g_assert_true (g_file_set_contents (full, text, -1, NULL));
}

#define DESCRIPTOR(code, features)                                                                 \
  "{\"interface-types\":[\"uefi\"],\"mapping\":{\"device\":\"flash\",\"executable\":"              \
  "{\"filename\":\"" code                                                                          \
  "\",\"format\":\"raw\"},\"nvram-template\":{\"filename\":\"/fw/vars.fd\","                       \
  "\"format\":\"raw\"}},\"targets\":[{\"architecture\":\"x86_64\",\"machines\":[\"pc-q35-*\"]}],"  \
  "\"features\":[" features "]}"

static void
test_firmware (void)
{
  g_autofree char *root = g_build_filename (scratch, "root", NULL);
  g_autofree char *expected = g_strconcat (root, "/fw/plain.fd", NULL);
  g_autofree char *keys = g_strconcat (root, "/fw/signed.fd", NULL);
  g_autoptr (H2kUefiFiles) files = NULL, none = NULL, usual = NULL, secure = NULL;
  g_autoptr (GError) error = NULL;

  g_assert_null (h2k_uefi_find (root, "x86_64", &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_TOOL);
  g_clear_error (&error);

  write_file (root, "/usr/share/OVMF/OVMF_CODE_4M.fd", "c");
  write_file (root, "/usr/share/OVMF/OVMF_VARS_4M.fd", "v");
  usual = h2k_uefi_find (root, "x86_64", &error);
  g_assert_no_error (error);
  g_assert_true (g_str_has_suffix (usual->code, "OVMF_CODE_4M.fd"));

  write_file (root, "/fw/plain.fd", "c");
  write_file (root, "/fw/keys.fd", "c");
  write_file (root, "/fw/vars.fd", "v");
  write_file (root, "/usr/share/qemu/firmware/10-bad.json", "{\"mapping\": [1], ");
  write_file (root, "/usr/share/qemu/firmware/11-odd.json", "[1, 2]");
  write_file (root, "/usr/share/qemu/firmware/20-keys.json",
              DESCRIPTOR ("/fw/keys.fd", "\"enrolled-keys\""));
  write_file (root, "/usr/share/qemu/firmware/30-gone.json", DESCRIPTOR ("/fw/gone.fd", ""));
  write_file (root, "/usr/share/qemu/firmware/40-plain.json", DESCRIPTOR ("/fw/keys.fd", ""));
  write_file (root, "/etc/qemu/firmware/40-plain.json", DESCRIPTOR ("/fw/plain.fd", "\"acpi-s4\""));
  files = h2k_uefi_find (root, "x86_64", &error);
  g_assert_no_error (error);
  g_assert_cmpstr (files->code, ==, expected);
  none = h2k_uefi_find (root, "aarch64", &error);
  g_assert_null (none);

  g_assert_null (h2k_uefi_find_secure (root, "x86_64"));
  write_file (root, "/fw/signed.fd", "c");
  write_file (root, "/usr/share/qemu/firmware/10-signed.json",
              DESCRIPTOR ("/fw/signed.fd", "\"secure-boot\", \"requires-smm\", \"enrolled-keys\""));
  secure = h2k_uefi_find_secure (root, "x86_64");
  g_assert_cmpstr (secure->code, ==, keys);
  g_assert_null (h2k_uefi_find_secure (root, "aarch64"));
}

static int
remove_tree (const char *path)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GSubprocess) process
      = g_subprocess_new (G_SUBPROCESS_FLAGS_NONE, &error, "rm", "-r", path, NULL);

  return process != NULL && g_subprocess_wait_check (process, NULL, NULL) ? 0 : 1;
}

int
main (int argc, char **argv)
{
  int failed;

  g_test_init (&argc, &argv, NULL);
  scratch = g_dir_make_tmp ("h2k-domain-XXXXXX", NULL);
  g_assert_nonnull (scratch);
  g_test_add_func ("/domain/xml/schema", test_schema);
  g_test_add_func ("/domain/xml/security", test_security);
  g_test_add_func ("/domain/xml/schema-refuses", test_schema_refuses);
  g_test_add_func ("/domain/xml/content", test_xml_content);
  g_test_add_func ("/domain/xml/uefi", test_xml_uefi);
  g_test_add_func ("/domain/xml/clone", test_xml_clone);
  g_test_add_func ("/domain/json/back-and-forth", test_json);
  g_test_add_func ("/domain/json/of-others", test_json_of_others);
  g_test_add_func ("/domain/xml/names", test_names);
  g_test_add_func ("/domain/xml/uuid", test_uuid_is_stable);
  g_test_add_func ("/domain/xml/disk-targets", test_disk_targets);
  g_test_add_func ("/domain/osinfo/ids", test_osinfo_ids);
  g_test_add_func ("/domain/osinfo/database-is-covered", test_osinfo_db_is_covered);
  g_test_add_func ("/domain/osinfo/ids-exist", test_osinfo_ids_exist);
  g_test_add_func ("/domain/qemu/args", test_qemu_args);
  g_test_add_func ("/domain/qemu/accepts", test_qemu_accepts);
  g_test_add_func ("/domain/qemu/command", test_qemu_command);
  g_test_add_func ("/domain/qemu/command-starts", test_command_starts);
  g_test_add_func ("/domain/firmware", test_firmware);
  failed = g_test_run ();
  failed |= remove_tree (scratch);
  g_free (scratch);
  return failed;
}
