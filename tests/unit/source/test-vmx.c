/* test-vmx.c - VMware configuration files give the VM that they describe; on real ones this agrees
 * with libvirt's VMX reader, whose results are samples, too.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "source/source.h"

#include <libxml/parser.h>
#include <libxml/xpath.h>

static H2kVm *
parse (const char *text, GError **error)
{
  return h2k_vmx_parse (text, strlen (text), "vm.vmx", error);
}

/* The disks and NICs of VM as one line of text. */
static char *
describe (const H2kVm *vm)
{
  GString *out = g_string_new (NULL);

  for (guint i = 0; i < vm->disks->len; i++)
    {
      const H2kVmDisk *disk = vm->disks->pdata[i];
      g_string_append_printf (out, "%s %s (%s); ", disk->id, disk->file,
                              disk->controller_type ? disk->controller_type : "-");
    }
  for (guint i = 0; i < vm->nics->len; i++)
    {
      const H2kVmNic *nic = vm->nics->pdata[i];
      g_string_append_printf (out, "nic %s %s %s; ", nic->mac ? nic->mac : "-",
                              nic->network ? nic->network : "-", nic->model ? nic->model : "-");
    }
  return g_string_free (out, FALSE);
}

static void
assert_described (const char *text, const char *expected)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kVm) vm = parse (text, &error);
  g_autofree char *line = NULL;

  g_assert_no_error (error);
  line = describe (vm);
  g_assert_cmpstr (line, ==, expected);
}

#define HEAD "config.version = \"8\"\n"

static void
test_machine (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kVm) vm = parse ("#!/usr/bin/vmware\r\n.encoding = \"UTF-8\"\r\n"
                                "DISPLAYNAME = \"a |22b|22 |7C c|\"\r\n numVCPUs=\"4\"\r\n"
                                "memsize = 2048\r\nfirmware = \"efi\" # comment\r\n\r\n"
                                "uefi.secureBoot.enabled = \"TRUE\"\r\nvtpm.present = \"true\"\r\n"
                                "guestOS = \"rhel8-64\"",
                                &error);

  g_assert_no_error (error);
  g_assert_cmpstr (vm->name, ==, "a \"b\" | c|");
  g_assert_cmpuint (vm->vcpus, ==, 4);
  g_assert_cmpuint (vm->memory_mib, ==, 2048);
  g_assert_cmpint (vm->firmware, ==, H2K_VM_FIRMWARE_UEFI);
  g_assert_true (vm->secure_boot);
  g_assert_true (vm->has_tpm);
  g_assert_cmpstr (vm->os_hint, ==, "rhel8-64");
}

/* What a file leaves out is as VMware takes it: BIOS, one CPU. */
static void
test_defaults (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kVm) vm = parse (HEAD "numvcpus = \"\"\n", &error);

  g_assert_no_error (error);
  g_assert_cmpuint (vm->vcpus, ==, 1);
  g_assert_cmpuint (vm->memory_mib, ==, 0);
  g_assert_cmpint (vm->firmware, ==, H2K_VM_FIRMWARE_BIOS);
  g_assert_false (vm->secure_boot);
  g_assert_false (vm->has_tpm);
  g_assert_null (vm->os_hint);
}

static void
test_disks (void)
{
#define DISK(id, file) id ".present = \"TRUE\"\n" id ".fileName = \"" file "\"\n"
#define BUSES                                                                                      \
  "scsi0.present = \"TRUE\"\nscsi1.present = \"TRUE\"\nscsi1.virtualDev = \"pvscsi\"\n"            \
  "sata0.present = \"true\"\nnvme0.present = \"TRUE\"\n"
  /* clang-format off: one disk a line */
#define DISKS                                                                                      \
  DISK ("ide0:1", "i.vmdk")                                                                        \
  DISK ("nvme0:2", "n.vmdk")                                                                       \
  DISK ("sata0:3", "s.vmdk")                                                                       \
  DISK ("scsi1:0", "c")                                                                            \
  DISK ("scsi0:10", "/vmfs/volumes/a/b.vmdk")                                                      \
  DISK ("scsi0:2", "[datastore] a/a.vmdk")
  /* clang-format on */

  assert_described (HEAD BUSES DISKS,
                    "scsi0:2 [datastore] a/a.vmdk (-); scsi0:10 /vmfs/volumes/a/b.vmdk (-); "
                    "scsi1:0 c (pvscsi); sata0:3 s.vmdk (-); nvme0:2 n.vmdk (-); ide0:1 i.vmdk "
                    "(-); ");
  assert_described (HEAD BUSES DISKS "bios.hddOrder = \"sata0:3,scsi9:9, SCSI1:0\"\n",
                    "sata0:3 s.vmdk (-); scsi1:0 c (pvscsi); scsi0:2 [datastore] a/a.vmdk (-); "
                    "scsi0:10 /vmfs/volumes/a/b.vmdk (-); nvme0:2 n.vmdk (-); ide0:1 i.vmdk (-); ");
}

/* CDs, what is switched off, and what hangs on a controller that is. */
static void
test_absent (void)
{
  /* clang-format off: one device a line */
  assert_described (
      HEAD "scsi0.present = \"TRUE\"\n"
           "scsi1.present = \"FALSE\"\n" DISK ("scsi0:0", "a.vmdk") DISK ("scsi1:0", "b.vmdk")
               DISK ("sata0:0", "c.vmdk") DISK ("ide0:0", "d.ISO")
                   DISK ("ide0:1", "auto detect") "ide0:1.deviceType = \"CDROM-raw\"\n" DISK (
                       "ide1:0", "") "ide1:0.deviceType = \"atapi-cdrom\"\n"
                                     "ide1:1.present = \"FALSE\"\nide1:1.fileName = \"e.vmdk\"\n"
                                     "scsi0:1.fileName = \"f.vmdk\"\n" DISK ("scsi0:01", "g.vmdk"),
      "scsi0:0 a.vmdk (-); ");
  /* clang-format on */
}

static void
test_nics (void)
{
  assert_described (
      HEAD "ethernet10.present = \"TRUE\"\nethernet10.addressType = \"static\"\n"
           "ethernet10.address = \"00:50:56:00:00:0A\"\n"
           "ethernet10.generatedAddress = \"00:0c:29:00:00:0a\"\n"
           "ethernet2.present = \"TRUE\"\nethernet2.virtualDev = \"vmxnet3\"\n"
           "ethernet2.networkName = \"VM Network\"\nethernet2.addressType = \"vpx\"\n"
           "ethernet2.generatedAddress = \"00:50:56:9b:00:02\"\n"
           "ethernet3.present = \"FALSE\"\nethernet4.present = \"TRUE\"\n"
           "ethernet4.connectionType = \"nat\"\nethernet4.address = \"broken\"\n",
      "nic 00:50:56:9b:00:02 VM Network vmxnet3; nic - nat -; nic 00:50:56:00:00:0a - -; ");
}

static void
test_encodings (void)
{
  static const struct
  {
    const char *text, *name;
  } cases[] = {
      {".encoding = \"windows-1252\"\ndisplayName = \"b\xfcro\"\n", "b\xc3\xbcro"},
      {"displayName = \"b\xfcro\"\n", "b\xc3\xbcro"},
      {"displayName = \"b\xc3\xbcro\"\n", "b\xc3\xbcro"},
      {"\xef\xbb\xbf"
       "displayName = \"b|C3|BCro\"\n",
       "b\xc3\xbcro"},
      {"displayName = \"b|FCro\"\n", "b|FCro"},
      /* The second byte of the first character is a backslash in ASCII. */
      {"displayName = \"\x95\x5c\"\n.encoding = \"Shift_JIS\"\n", "\xe8\xa1\xa8"},
      {".encoding = \"GBK\"\r\ndisplayName = \"\xd6\xd0\"\r\n", "\xe4\xb8\xad"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kVm) vm = parse (cases[i].text, &error);
      g_assert_no_error (error);
      g_assert_cmpstr (vm->name, ==, cases[i].name);
    }
}

static void
test_refused (void)
{
  static const struct
  {
    const char *text;
    H2kError code;
    const char *says;
  } cases[] = {
      {"", H2K_ERROR_FORMAT, "no VMware configuration"},
      {"a = \"b\"\n", H2K_ERROR_FORMAT, "no VMware configuration"},
      {HEAD "displayName \"x\"\n", H2K_ERROR_FORMAT, "line 2"},
      {HEAD "displayName = \"x\n", H2K_ERROR_FORMAT, "line 2"},
      {HEAD "displayName = \"x\" y\n", H2K_ERROR_FORMAT, "line 2"},
      {HEAD "= \"x\"\n", H2K_ERROR_FORMAT, "line 2"},
      {HEAD "numvcpus = \"two\"\n", H2K_ERROR_FORMAT, "numvcpus = \"two\""},
      {HEAD "numvcpus = \"0\"\n", H2K_ERROR_FORMAT, "numvcpus"},
      {HEAD "memsize = \"-1\"\n", H2K_ERROR_FORMAT, "memsize"},
      {HEAD "memsize = \"18446744073709551616\"\n", H2K_ERROR_FORMAT, "memsize"},
      {HEAD ".encoding = \"klingon\"\nx = \"\xff\"\n", H2K_ERROR_UNSUPPORTED, "klingon"},
      {HEAD ".encoding = \"UTF-8\"\nx = \"\xff\"\n", H2K_ERROR_FORMAT, "encoding"},
      {HEAD ".encoding = \"\xff\"\nx = \"\xff\"\n", H2K_ERROR_UNSUPPORTED, "\\xff"},
      {HEAD "encryption.keySafe = \"vmware:key/list\"\n", H2K_ERROR_UNSUPPORTED, "encrypted"},
      {HEAD "ide0:0.present = \"TRUE\"\n", H2K_ERROR_FORMAT, "no file name"},
      {HEAD DISK ("ide0:0", "/dev/sdb") "ide0:0.deviceType = \"scsi-passthru\"\n",
       H2K_ERROR_UNSUPPORTED, "device of the host"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kVm) vm = parse (cases[i].text, &error);
      g_test_message ("%s", cases[i].says);
      g_assert_null (vm);
      g_assert_error (error, H2K_ERROR, (int)cases[i].code);
      g_assert_true (g_utf8_validate (error->message, -1, NULL));
      if (!strstr (error->message, cases[i].says))
        g_error ("\"%s\" does not say \"%s\"", error->message, cases[i].says);
    }
}

/* --- real ones -------------------------------------------------------------------------------- */

/* The values of EXPRESSION's nodes, one a line; of paths, the part after the last slash. */
static char *
xpath (xmlDoc *doc, const char *expression)
{
  xmlXPathContext *context = xmlXPathNewContext (doc);
  xmlXPathObject *object = xmlXPathEvalExpression (BAD_CAST expression, context);
  GString *out = g_string_new (NULL);

  g_assert_nonnull (object);
  for (int i = 0; object->nodesetval && i < object->nodesetval->nodeNr; i++)
    {
      xmlChar *value = xmlNodeGetContent (object->nodesetval->nodeTab[i]);
      const char *slash = strrchr ((const char *)value, '/');
      g_string_append_printf (out, "%s\n", slash ? slash + 1 : (const char *)value);
      xmlFree (value);
    }
  xmlXPathFreeObject (object);
  xmlXPathFreeContext (context);
  return g_string_free (out, FALSE);
}

static void
assert_agrees (const H2kVm *vm, xmlDoc *doc)
{
  g_autofree char *name = xpath (doc, "/domain/name"), *memory = xpath (doc, "/domain/memory");
  g_autofree char *vcpus = xpath (doc, "/domain/vcpu");
  g_autofree char *disks = xpath (doc, "//disk[@device='disk']/source/@file");
  g_autofree char *macs = xpath (doc, "//interface/mac/@address");
  GString *files = g_string_new (NULL), *addresses = g_string_new (NULL);

  /* libvirt leaves the name out that a file does not have. */
  if (strcmp (vm->name, "vm") != 0)
    g_assert_true (g_str_has_prefix (name, vm->name));
  /* libvirt has 32 MiB for a file that does not say. */
  g_assert_cmpuint (g_ascii_strtoull (memory, NULL, 10), ==,
                    1024 * (vm->memory_mib ? vm->memory_mib : 32));
  g_assert_cmpuint (g_ascii_strtoull (vcpus, NULL, 10), ==, vm->vcpus);
  for (guint i = 0; i < vm->disks->len; i++)
    {
      const char *file = ((H2kVmDisk *)vm->disks->pdata[i])->file;
      const char *slash = strrchr (file, '/');
      g_string_append_printf (files, "%s\n", slash ? slash + 1 : file);
    }
  for (guint i = 0; i < vm->nics->len; i++)
    g_string_append_printf (addresses, "%s\n", ((H2kVmNic *)vm->nics->pdata[i])->mac);
  g_assert_cmpstr (files->str, ==, disks);
  g_assert_cmpstr (addresses->str, ==, macs);
  g_string_free (files, TRUE);
  g_string_free (addresses, TRUE);
}

static void
test_agrees_with_libvirt (void)
{
  const char *data = g_getenv ("H2K_TESTDATA"), *name;
  g_autofree char *folder = NULL;
  g_autoptr (GDir) dir = NULL;
  guint n = 0;

  if (!data)
    {
      g_test_skip ("H2K_TESTDATA, with real configurations, is not set");
      return;
    }
  folder = g_build_filename (data, "vmx", "libvirt", NULL);
  dir = g_dir_open (folder, 0, NULL);
  g_assert_nonnull (dir);
  while ((name = g_dir_read_name (dir)))
    {
      g_autofree char *vmx = g_build_filename (folder, name, NULL), *xml = g_strdup (vmx);
      g_autofree char *text = NULL;
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kVm) vm = NULL;
      xmlDoc *doc;
      if (!g_str_has_suffix (name, ".vmx"))
        continue;
      memcpy (xml + strlen (xml) - 3, "xml", 3);
      g_test_message ("%s", name);
      g_file_get_contents (vmx, &text, NULL, &error);
      g_assert_no_error (error);
      vm = parse (text, &error);
      g_assert_no_error (error);
      if (!g_file_test (xml, G_FILE_TEST_EXISTS))
        continue;
      doc = xmlReadFile (xml, NULL, XML_PARSE_NONET);
      g_assert_nonnull (doc);
      assert_agrees (vm, doc);
      xmlFreeDoc (doc);
      n++;
    }
  g_assert_cmpuint (n, >=, 20);
}

static void
test_many_disks (void)
{
  const char *data = g_getenv ("H2K_TESTDATA");
  g_autofree char *path = NULL, *text = NULL;
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kVm) vm = NULL;

  if (!data)
    {
      g_test_skip ("H2K_TESTDATA, with real configurations, is not set");
      return;
    }
  path = g_build_filename (data, "ovf/virt-v2v/tests/test-i-vmx-1.vmx", NULL);
  g_file_get_contents (path, &text, NULL, &error);
  g_assert_no_error (error);
  vm = parse (text, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (vm->name, ==, "BZ1308535_21disks");
  g_assert_cmpuint (vm->disks->len, ==, 21);
  for (guint i = 0; i < vm->disks->len; i++)
    {
      const H2kVmDisk *disk = vm->disks->pdata[i];
      g_autofree char *expected = i ? g_strdup_printf ("BZ1308535_21disks_%u.vmdk", i)
                                    : g_strdup ("BZ1308535_21disks.vmdk");
      g_assert_cmpstr (disk->file, ==, expected);
      g_assert_cmpstr (disk->controller_type, ==, "pvscsi");
      /* Unit 7 is the controller's own. */
      g_assert_cmpuint (disk->unit, ==, i < 7 ? i : i < 15 ? i + 1 : i - 15);
      g_assert_cmpuint (disk->controller, ==, i >= 15);
    }
  g_assert_cmpstr (((H2kVmNic *)vm->nics->pdata[0])->mac, ==, "00:0c:29:36:ef:31");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/vmx/the-machine-is-read", test_machine);
  g_test_add_func ("/vmx/what-is-left-out-is-as-vmware-takes-it", test_defaults);
  g_test_add_func ("/vmx/disks-are-in-order", test_disks);
  g_test_add_func ("/vmx/cds-and-absent-devices-are-left-out", test_absent);
  g_test_add_func ("/vmx/nics-have-the-address-of-their-type", test_nics);
  g_test_add_func ("/vmx/encodings-and-escapes-are-decoded", test_encodings);
  g_test_add_func ("/vmx/what-is-wrong-is-refused-with-a-reason", test_refused);
  g_test_add_func ("/vmx/real-configurations-agree-with-libvirt", test_agrees_with_libvirt);
  g_test_add_func ("/vmx/21-disks-on-two-controllers-are-read", test_many_disks);
  return g_test_run ();
}
