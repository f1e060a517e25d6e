/* test-ovf.c - OVF descriptors of VMware, VirtualBox, oVirt and the standard give the VM that they
 * describe; what is ambiguous, leads elsewhere or attacks the XML parser is refused.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "source/source.h"

/* --- a VM as one line of text ----------------------------------------------------------------- */

static const char *const buses[] = {"?", "ide", "sata", "scsi", "nvme", "virtio"};
static const char *const firmwares[] = {"?", "bios", "uefi"};

static void
describe_disk (GString *out, const H2kVmDisk *disk)
{
  g_string_append_printf (out, "; %s %s%u:%u", disk->file ? disk->file : "(empty)",
                          buses[disk->bus], disk->controller, disk->unit);
  if (disk->controller_type)
    g_string_append_printf (out, " on %s", disk->controller_type);
  if (disk->format)
    g_string_append_printf (out, " %s", disk->format);
  g_string_append_printf (out, " %" G_GUINT64_FORMAT "/%" G_GUINT64_FORMAT, disk->file_size,
                          disk->capacity);
  if (disk->gzip)
    g_string_append (out, " gzip");
  if (disk->chunked)
    g_string_append_printf (out, " chunks %" G_GUINT64_FORMAT, disk->chunk_size);
  for (const H2kVmDisk *parent = disk->parent; parent; parent = parent->parent)
    g_string_append_printf (out, " < %s", parent->file);
}

static char *
describe (const H2kVm *vm)
{
  GString *out = g_string_new (NULL);

  g_string_append_printf (out, "%s: %u CPU, %" G_GUINT64_FORMAT " MiB, %s%s%s, %s", vm->name,
                          vm->vcpus, vm->memory_mib, firmwares[vm->firmware],
                          vm->secure_boot ? "+sb" : "", vm->has_tpm ? "+tpm" : "",
                          vm->os_hint ? vm->os_hint : "?");
  for (guint i = 0; i < vm->disks->len; i++)
    describe_disk (out, vm->disks->pdata[i]);
  for (guint i = 0; i < vm->nics->len; i++)
    {
      const H2kVmNic *nic = vm->nics->pdata[i];
      g_string_append_printf (out, "; nic %s %s %s", nic->mac ? nic->mac : "-",
                              nic->network ? nic->network : "-", nic->model ? nic->model : "-");
    }
  return g_string_free (out, FALSE);
}

static H2kVm *
parse (const char *text, GError **error)
{
  return h2k_ovf_parse (text, strlen (text), "vm.ovf", error);
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

static void
assert_refused (const char *text, H2kError code, const char *says)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kVm) vm = parse (text, &error);

  g_test_message ("%s", says);
  g_assert_null (vm);
  g_assert_error (error, H2K_ERROR, (int)code);
  if (!strstr (error->message, says) || !g_str_has_prefix (error->message, "vm.ovf: "))
    g_error ("\"%s\" does not say \"%s\"", error->message, says);
}

/* --- made by hand ----------------------------------------------------------------------------- */

#define HEAD                                                                                       \
  "<Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\" "                                    \
  "xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\" "                                          \
  "xmlns:vmw=\"http://www.vmware.com/schema/ovf\" "                                                \
  "xmlns:vbox=\"http://www.virtualbox.org/ovf/machine\" "                                          \
  "xmlns:r=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"                                   \
  "CIM_ResourceAllocationSettingData\">\n"
#define SYSTEM "<VirtualSystem ovf:id=\"id\"><Name> vm </Name><VirtualHardwareSection>"
#define TAIL "</VirtualHardwareSection></VirtualSystem></Envelope>"

#define ITEM(type, rest) "<Item><r:ResourceType>" #type "</r:ResourceType>" rest "</Item>"
/* A property of an item. */
#define P(name, value) "<r:" #name ">" value "</r:" #name ">"
#define MEMORY(units, quantity)                                                                    \
  ITEM (4, "<r:AllocationUnits>" units "</r:AllocationUnits><r:VirtualQuantity>" quantity          \
           "</r:VirtualQuantity>")
#define DISK(id) ITEM (17, "<r:HostResource>ovf:/disk/" id "</r:HostResource>")

/* An OVF with one disk whose file is HREF. */
#define WITH_HREF(href)                                                                            \
  HEAD "<References><File ovf:id=\"f\" ovf:href=\"" href "\"/></References>"                       \
       "<DiskSection><Disk ovf:diskId=\"d\" ovf:fileRef=\"f\" ovf:capacity=\"512\"/>"              \
       "</DiskSection>" SYSTEM DISK ("d") TAIL

static void
test_units (void)
{
  static const struct
  {
    const char *text;
    guint64 mib;
  } cases[] = {
      {HEAD SYSTEM MEMORY ("byte * 2^20", "512") TAIL, 512},
      {HEAD SYSTEM MEMORY ("byte*2^30", "2") TAIL, 2048},
      {HEAD SYSTEM MEMORY ("byte * 2 ^ 20", "3") TAIL, 3},
      {HEAD SYSTEM MEMORY ("byte*1024*1024", "7") TAIL, 7},
      {HEAD SYSTEM MEMORY ("MegaBytes", "192") TAIL, 192},
      {HEAD SYSTEM MEMORY ("GB", "4") TAIL, 4096},
      {HEAD SYSTEM MEMORY ("KiloBytes", "1025") TAIL, 2},
      {HEAD SYSTEM MEMORY ("byte * 10^6", "1000") TAIL, 954},
      {HEAD SYSTEM MEMORY ("byte", "1048576") TAIL, 1},
      {HEAD SYSTEM MEMORY ("", "256") TAIL, 256},
      {HEAD SYSTEM MEMORY ("", "268435456") TAIL, 256},
      {HEAD SYSTEM MEMORY ("MB", "256") MEMORY ("MB", "256") TAIL, 512},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kVm) vm = parse (cases[i].text, &error);
      g_assert_no_error (error);
      g_assert_cmpuint (vm->memory_mib, ==, cases[i].mib);
    }
  assert_refused (HEAD SYSTEM MEMORY ("furlong", "1") TAIL, H2K_ERROR_FORMAT, "no unit of bytes");
  assert_refused (HEAD SYSTEM MEMORY ("byte*2^64", "1") TAIL, H2K_ERROR_FORMAT, "no unit of bytes");
  assert_refused (HEAD SYSTEM MEMORY ("byte*2^62", "2") TAIL, H2K_ERROR_FORMAT, "too large");
  assert_refused (HEAD SYSTEM MEMORY ("MB", "-1") TAIL, H2K_ERROR_FORMAT, "no size");
  assert_refused (HEAD SYSTEM MEMORY ("MB", "many") TAIL, H2K_ERROR_FORMAT, "\"many\"");
}

static void
test_hrefs (void)
{
  static const struct
  {
    const char *text, *file;
  } cases[] = {
      {WITH_HREF ("disk.vmdk"), "disk.vmdk"},
      {WITH_HREF ("./sub//disk.vmdk"), "sub/disk.vmdk"},
      {WITH_HREF ("my%20disk%281%29.vmdk"), "my disk(1).vmdk"},
      {WITH_HREF ("b&#252;ro.vmdk"), "b\xc3\xbcro.vmdk"},
      {WITH_HREF ("b%C3%BCro.vmdk"), "b\xc3\xbcro.vmdk"},
      {WITH_HREF ("100%.vmdk"), "100%.vmdk"},
      {WITH_HREF ("..disk..vmdk"), "..disk..vmdk"},
      {WITH_HREF ("vm: disk.vmdk"), "vm: disk.vmdk"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kVm) vm = parse (cases[i].text, &error);
      g_assert_no_error (error);
      g_assert_cmpstr (((H2kVmDisk *)vm->disks->pdata[0])->file, ==, cases[i].file);
    }
  assert_refused (WITH_HREF (""), H2K_ERROR_FORMAT, "is empty");
  assert_refused (WITH_HREF ("../disk.vmdk"), H2K_ERROR_FORMAT, "leads out");
  assert_refused (WITH_HREF ("a/%2e%2e/%2E%2E/b"), H2K_ERROR_FORMAT, "leads out");
  assert_refused (WITH_HREF ("a\\..\\b"), H2K_ERROR_FORMAT, "leads out");
  assert_refused (WITH_HREF ("/etc/shadow"), H2K_ERROR_FORMAT, "is absolute");
  assert_refused (WITH_HREF ("%2fetc/shadow"), H2K_ERROR_FORMAT, "is absolute");
  assert_refused (WITH_HREF ("C:\\vm\\disk.vmdk"), H2K_ERROR_FORMAT, "is absolute");
  assert_refused (WITH_HREF ("file:///disk.vmdk"), H2K_ERROR_FORMAT, "is a URL");
  assert_refused (WITH_HREF ("nfs://host/disk.vmdk"), H2K_ERROR_FORMAT, "is a URL");
  assert_refused (WITH_HREF ("HTTPS://host/disk.vmdk"), H2K_ERROR_UNSUPPORTED, "on a server");
  assert_refused (WITH_HREF ("a%0ab"), H2K_ERROR_FORMAT, "control");
  assert_refused (WITH_HREF ("a%ffb"), H2K_ERROR_FORMAT, "not UTF-8");
}

/* clang-format off: one element a line */
static void
test_devices (void)
{
  static const char text[] = HEAD
      "<References>"
      "<File ovf:id='f1' ovf:href='a.vmdk.gz' ovf:size='10' ovf:compression='gzip'/>"
      "<File ovf:id='f2' ovf:href='b.vhdx' ovf:chunkSize='4096'/>"
      "<File ovf:id='f3' ovf:href='c'/>"
      "</References><DiskSection>"
      "<Disk ovf:diskId='1' ovf:fileRef='f1' ovf:parentRef='2' ovf:capacity='1' "
      "ovf:capacityAllocationUnits='byte * 2^30' ovf:format='http://x/vmdk.html#sparse'/>"
      "<Disk ovf:diskId='2' ovf:fileRef='f2' ovf:capacity='1024' ovf:format='x/VHDX'/>"
      "</DiskSection>" SYSTEM ITEM (20, P (InstanceID, "s0") P (ResourceSubType, "AHCI"))
          ITEM (20, P (InstanceID, "n0") P (ResourceSubType, "vmware.nvme.controller"))
              ITEM (20, P (InstanceID, "s1") P (ResourceSubType, "AHCI"))
                  ITEM (15, P (HostResource, "ovf:/file/iso") P (Parent, "s0"))
                      ITEM (17, P (HostResource, "ovf:/disk/1") P (Parent, "s1")
                                    P (AddressOnParent, "5")) ITEM (17, P (HostResource, "/disk/2")
                                                                            P (Parent, "n0"))
                          ITEM (17, P (HostResource, "ovf:/file/f3") P (Parent, "gone"))
                              ITEM (17, P (AllocationUnits, "byte*2^20") P (VirtualQuantity, "8"))
                                  ITEM (10, P (Connection, "lan") P (Address, "00-50-56-AB-CD-01")
                                                P (ResourceSubType, "E1000"))
                                      ITEM (10, P (Address, "7")) ITEM (3, P (VirtualQuantity, "4"))
                                          TAIL;

  assert_described (
      text, "vm: 4 CPU, 0 MiB, ?, ?; a.vmdk.gz sata1:5 on AHCI vmdk 10/1073741824 gzip < b.vhdx"
            "; b.vhdx nvme0:0 on vmware.nvme.controller vhdx 0/1024 chunks 4096; c ?0:0 0/0"
            "; (empty) ?0:0 0/8388608; nic 00:50:56:ab:cd:01 lan E1000; nic - - -");
}

static void
test_firmware (void)
{
  assert_described (
      HEAD SYSTEM ITEM (1,
                        P (ResourceSubType,
                           "vmware.vtpm")) "<vmw:Config vmw:key='firmware' vmw:value='efi'/>"
                                           "<vmw:Config vmw:key='bootOptions.efiSecureBootEnabled' "
                                           "vmw:value='true'/>" TAIL,
      "vm: 0 CPU, 0 MiB, uefi+sb+tpm, ?");
  assert_described (HEAD SYSTEM "<vmw:Config vmw:key='firmware' vmw:value='bios'/>" TAIL,
                    "vm: 0 CPU, 0 MiB, bios, ?");
  /* A key of another namespace is none of VMware's. */
  assert_described (HEAD SYSTEM "<vbox:Config vmw:key='firmware' vmw:value='efi'/>" TAIL,
                    "vm: 0 CPU, 0 MiB, ?, ?");
  assert_described (
      HEAD SYSTEM ITEM (
          10,
          P (Connection,
             "NAT")) "</VirtualHardwareSection><vbox:Machine>"
                     "<Snapshot><Hardware><Firmware type='BIOS'/></Hardware></Snapshot>"
                     "<Hardware><Firmware type='EFI'/><TrustedPlatformModule type='v2_0'/><Network>"
                     "<Adapter slot='0' enabled='false' MACAddress='080027000001'/>"
                     "<Adapter slot='1' enabled='true' MACAddress='080027ABCDEF'/>"
                     "</Network></Hardware></vbox:Machine></VirtualSystem></Envelope>",
      "vm: 0 CPU, 0 MiB, uefi+tpm, ?; nic 08:00:27:ab:cd:ef NAT -");
}

static void
test_boot_order (void)
{
  assert_described (
      HEAD
      "<DiskSection><Disk ovf:diskId='a' ovf:capacity='1'/>"
      "<Disk ovf:diskId='b' ovf:capacity='2'/></DiskSection>" SYSTEM ITEM (17, P (InstanceID, "1")
                                                                                   P (HostResource,
                                                                                      "/disk/a"))
          ITEM (17, P (InstanceID, "2")
                        P (HostResource,
                           "/disk/b")) "</VirtualHardwareSection>"
                                       "<vmw:BootOrderSection vmw:type='disk' vmw:instanceId='2'/>"
                                       "</VirtualSystem></Envelope>",
      "vm: 0 CPU, 0 MiB, ?, ?; (empty) ?0:0 0/2; (empty) ?0:0 0/1");
}

/* The default configuration's items count, and one that it names replaces a general one. */
static void
test_configurations (void)
{
#define CPUS(attributes, n)                                                                        \
  "<Item " attributes ">" P (InstanceID, "1") P (ResourceType, "3") P (VirtualQuantity, n) "</"    \
                                                                                           "Item>"
#define OPTIONS(is_default)                                                                        \
  HEAD "<DeploymentOptionSection><Configuration ovf:id='small'/>"                                  \
       "<Configuration ovf:id='big' " is_default                                                   \
       "/></DeploymentOptionSection>" SYSTEM CPUS ("", "2") CPUS ("ovf:bound='max'", "64")         \
           CPUS ("ovf:configuration='other big'", "16")                                            \
               CPUS ("ovf:configuration='big' ovf:bound='min'", "3") TAIL

  assert_described (OPTIONS (""), "vm: 2 CPU, 0 MiB, ?, ?");
  assert_described (OPTIONS ("ovf:default='true'"), "vm: 16 CPU, 0 MiB, ?, ?");
}
/* clang-format on */

/* What oVirt writes: sections by xsi:type, names in no namespace, sizes in GiB. */
static void
test_ovirt (void)
{
  assert_described (
      "<ovf:Envelope xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1/\" "
      "xmlns:rasd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
      "CIM_ResourceAllocationSettingData\" "
      "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" ovf:version=\"4.4.0.0\">"
      "<References><File ovf:href=\"g1/v1\" ovf:id=\"v1\" ovf:size=\"196616\"/>"
      "<File ovf:href=\"g2/v2\" ovf:id=\"v2\" ovf:size=\"5\"/></References>"
      "<Section xsi:type=\"ovf:DiskSection_Type\">"
      "<Disk ovf:diskId=\"v1\" ovf:size=\"10\" ovf:fileRef=\"g1/v1\" ovf:parentRef=\"\" "
      "ovf:format=\"http://www.vmware.com/specifications/vmdk.html#sparse\" "
      "ovf:volume-format=\"COW\" ovf:disk-interface=\"VirtIO_SCSI\" ovf:boot=\"false\"/>"
      "<Disk ovf:diskId=\"v2\" ovf:size=\"1\" ovf:fileRef=\"g2/v2\" ovf:volume-format=\"RAW\" "
      "ovf:disk-interface=\"VirtIO\" ovf:boot=\"true\"/></Section>"
      "<Content ovf:id=\"out\" xsi:type=\"ovf:VirtualSystem_Type\"><Name>guest</Name>"
      "<BiosType>4</BiosType><Section xsi:type=\"ovf:OperatingSystemSection_Type\">"
      "<Description>rhel_8x64</Description></Section>"
      "<Section xsi:type=\"ovf:VirtualHardwareSection_Type\">"
      "<Item><rasd:InstanceId>1</rasd:InstanceId><rasd:ResourceType>3</rasd:ResourceType>"
      "<rasd:num_of_sockets>2</rasd:num_of_sockets><rasd:cpu_per_socket>3</rasd:cpu_per_socket>"
      "</Item><Item><rasd:ResourceType>4</rasd:ResourceType>"
      "<rasd:AllocationUnits>MegaBytes</rasd:AllocationUnits>"
      "<rasd:VirtualQuantity>1024</rasd:VirtualQuantity></Item>"
      "<Item><rasd:InstanceId>v1</rasd:InstanceId><rasd:ResourceType>17</rasd:ResourceType>"
      "<rasd:HostResource>g1/v1</rasd:HostResource></Item>"
      "<Item><rasd:InstanceId>v2</rasd:InstanceId><rasd:ResourceType>17</rasd:ResourceType>"
      "<rasd:HostResource>g2/v2</rasd:HostResource></Item>"
      "<Item><rasd:ResourceType>10</rasd:ResourceType><rasd:ResourceSubType>3"
      "</rasd:ResourceSubType><rasd:Connection>ovirtmgmt</rasd:Connection>"
      "<rasd:MACAddress>56:6f:00:00:00:01</rasd:MACAddress></Item>"
      "<Item><rasd:ResourceType>0</rasd:ResourceType><Type>tpm</Type><Device>tpm</Device></Item>"
      "</Section></Content></ovf:Envelope>",
      "guest: 6 CPU, 1024 MiB, uefi+sb+tpm, rhel_8x64; g2/v2 virtio0:0 on VirtIO raw "
      "5/1073741824; g1/v1 scsi0:0 on VirtIO_SCSI qcow2 196616/10737418240; nic "
      "56:6f:00:00:00:01 ovirtmgmt virtio");
}

/* Version 2 of the standard has kinds of items with namespaces of their own. */
static void
test_version_2 (void)
{
#define CIM "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_"
  assert_described (
      "<o:Envelope xmlns:o='http://schemas.dmtf.org/ovf/envelope/2' "
      "xmlns:s='" CIM "StorageAllocationSettingData' "
      "xmlns:e='" CIM "EthernetPortAllocationSettingData.xsd'>"
      "<o:VirtualSystem o:id='vm'><o:VirtualHardwareSection>"
      "<o:StorageItem><s:ResourceType>31</s:ResourceType>"
      "<s:AllocationUnits>byte*2^30</s:AllocationUnits>"
      "<s:VirtualQuantity>100</s:VirtualQuantity></o:StorageItem>"
      "<o:EthernetPortItem><e:Address>00-16-8B-DB-00-5E</e:Address>"
      "<e:Connection>lan</e:Connection><e:ResourceType>10</e:ResourceType></o:EthernetPortItem>"
      "</o:VirtualHardwareSection></o:VirtualSystem></o:Envelope>",
      "vm: 0 CPU, 0 MiB, ?, ?; (empty) ?0:0 0/107374182400; nic 00:16:8b:db:00:5e lan -");
}

static void
test_refused (void)
{
#define VM(name) "<VirtualSystem><Name>" name "</Name><VirtualHardwareSection/></VirtualSystem>"
  assert_refused (HEAD "<VirtualSystemCollection>" VM ("web&#27;") "<VirtualSystemCollection>" VM (
                      "db") "</VirtualSystemCollection></VirtualSystemCollection></Envelope>",
                  H2K_ERROR_FORMAT, "not well-formed");
  assert_refused (HEAD "<VirtualSystemCollection>" VM ("web") "<VirtualSystemCollection>" VM (
                      "db") "</VirtualSystemCollection></VirtualSystemCollection></Envelope>",
                  H2K_ERROR_UNSUPPORTED,
                  "2 VMs, and one can be migrated at a time: \"web\", \"db\"");
  assert_refused (HEAD "</Envelope>", H2K_ERROR_FORMAT, "no VirtualSystem");
  assert_refused (HEAD "<VirtualSystem/></Envelope>", H2K_ERROR_FORMAT, "VirtualHardwareSection");
  assert_refused ("<html/>", H2K_ERROR_FORMAT, "not an OVF");
  assert_refused ("", H2K_ERROR_FORMAT, "not well-formed");
  assert_refused (HEAD SYSTEM, H2K_ERROR_FORMAT, "not well-formed");
  assert_refused (HEAD SYSTEM DISK ("d") TAIL, H2K_ERROR_FORMAT, "no Disk of that id");
  assert_refused (HEAD SYSTEM ITEM (17, "") TAIL, H2K_ERROR_FORMAT, "neither a HostResource");
  assert_refused (
      HEAD "<DiskSection><Disk ovf:diskId=\"d\" ovf:fileRef=\"f\"/></DiskSection>" SYSTEM DISK ("d")
          TAIL,
      H2K_ERROR_FORMAT, "no File of that id");
  assert_refused (HEAD "<DiskSection><Disk ovf:diskId=\"d\" ovf:parentRef=\"e\"/><Disk "
                       "ovf:diskId=\"e\" ovf:parentRef=\"d\"/></DiskSection>" SYSTEM DISK ("d")
                           TAIL,
                  H2K_ERROR_FORMAT, "without end");
  assert_refused (HEAD "<References><File ovf:id=\"f\" ovf:href=\"a\"/><File ovf:id=\"f\" "
                       "ovf:href=\"b\"/></References>" SYSTEM TAIL,
                  H2K_ERROR_FORMAT, "ambiguous");
  assert_refused (HEAD "<References><File ovf:id=\"f\" ovf:href=\"a\" ovf:compression=\"bzip2\"/>"
                       "</References><DiskSection><Disk ovf:diskId=\"d\" ovf:fileRef=\"f\"/>"
                       "</DiskSection>" SYSTEM DISK ("d") TAIL,
                  H2K_ERROR_UNSUPPORTED, "\"bzip2\"");
  assert_refused (HEAD SYSTEM ITEM (3, "<r:VirtualQuantity>99999999</r:VirtualQuantity>") TAIL,
                  H2K_ERROR_FORMAT, "number of CPUs");
}

/* REPEAT times TEXT after HEAD and before TAIL. */
static char *
repeated (const char *head, const char *text, guint repeat, const char *tail)
{
  GString *out = g_string_new (head);

  for (guint i = 0; i < repeat; i++)
    g_string_append_printf (out, "%s", text);
  g_string_append (out, tail);
  return g_string_free (out, FALSE);
}

static void
test_attacks (void)
{
  g_autofree char *deep = repeated (HEAD, "<a>", 100000, "");
  g_autofree char *disks
      = repeated (HEAD
                  "<DiskSection><Disk ovf:diskId=\"d\" ovf:capacity=\"1\"/></DiskSection>" SYSTEM,
                  DISK ("d"), 2000, TAIL);
  g_autofree char *namespaces = repeated (HEAD, "<a xmlns:b=\"c\"/>", 5000, "</Envelope>");
  GString *attributes = g_string_new ("<Envelope ");
  g_autofree char *text = NULL;

  for (guint i = 0; i < 300000; i++)
    g_string_append_printf (attributes, "a%u='' ", i);
  g_string_append (attributes, "/>");
  text = g_string_free (attributes, FALSE);
  assert_refused (text, H2K_ERROR_FORMAT, "attributes");
  assert_refused (namespaces, H2K_ERROR_FORMAT, "namespaces");
  assert_refused (deep, H2K_ERROR_FORMAT, "not well-formed");
  assert_refused (disks, H2K_ERROR_UNSUPPORTED, "more than 1024 disks");
  assert_refused ("<!DOCTYPE a [<!ENTITY b \"c\"><!ENTITY d \"&b;&b;\">]>" HEAD SYSTEM TAIL,
                  H2K_ERROR_UNSUPPORTED, "document type");
  assert_refused ("<!DOCTYPE a SYSTEM \"file:///etc/passwd\">" HEAD SYSTEM TAIL,
                  H2K_ERROR_UNSUPPORTED, "document type");
  assert_refused (HEAD "<VirtualSystem><Name>&b;</Name></VirtualSystem></Envelope>",
                  H2K_ERROR_FORMAT, "not well-formed");
}

/* Cut anywhere, a descriptor is refused: nothing is made of a part of it. */
static void
test_truncated (void)
{
  static const char text[] = WITH_HREF ("disk.vmdk");

  for (gsize size = 0; size < sizeof text - 1; size++)
    {
      g_autoptr (GError) error = NULL;
      g_assert_null (h2k_ovf_parse (text, size, "vm.ovf", &error));
      g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
    }
}

/* --- real ones -------------------------------------------------------------------------------- */

#define W2K8 "2K8R2EESP1_2_Medium: 1 CPU, 1024 MiB, "
#define W2K8_OS ", Microsoft Windows Server 2008 R2 (64-bit)"
#define W2K8_NIC "; nic - PG-VLAN60 E1000"

/* A path ending in ".ova" is an archive with one descriptor. */
static const struct
{
  const char *path, *expected;
} samples[] = {
    {"ova/virtualbox/tdAppliance1-t1.ova",
     "tdAppliance1-t1: 1 CPU, 256 MiB, ?, oracleLinux64Guest; nic - nat E1000"},
    {"ova/virtualbox/tdAppliance1-t2.ova",
     "tdAppliance1-t2: 1 CPU, 16 MiB, ?, dosGuest; tdAppliance1-t2-disk1.vmdk ide0:0 vmdk "
     "68096/2147483648; nic - nat PCNet32"},
    {"ova/virtualbox/tdAppliance1-t3-ovftool-4.1.0.ova",
     "tdAppliance1-t3: 1 CPU, 256 MiB, ?, otherGuest64; "
     "tdAppliance1-t3-ovftool-4.1.0-disk1.vmdk.gz "
     "ide0:0 vmdk 484/1073741824 gzip; nic - nat E1000"},
    {"ova/virtualbox/tdAppliance1-t7-bad-instance.ova",
     "tdAppliance1-t7: 1 CPU, 16 MiB, ?, dosGuest; tdAppliance1-t7-bad-instance-disk1.vmdk ide0:0 "
     "vmdk 68096/2147483648; nic - nat PCNet32"},
    {"ova/forklift-ova/testing/playwright/test-assets/ova-files/2nd_disk.ova",
     "2nd-disk-vm: 1 CPU, 2048 MiB, ?, Other Linux (64-bit); 2nd_disk.vmdk scsi0:0 on lsilogic "
     "vmdk 196608/1073741824; nic - VM Network E1000"},
    {"ovf/virt-v2v/tests/test-i-ova-snapshots.ovf",
     W2K8 "uefi" W2K8_OS "; disk1.vmdk scsi0:0 on lsilogicsas vmdk 12288/53687091200" W2K8_NIC},
    {"ovf/virt-v2v/tests/test-i-ova-gz.ovf",
     W2K8 "bios" W2K8_OS "; disk1.vmdk.gz scsi0:0 on lsilogicsas vmdk 7804077568/53687091200 "
          "gzip" W2K8_NIC},
    {"ovf/govmomi/deployment-configs.ovf",
     "deployment-configs-vm: 8 CPU, 8192 MiB, ?, Other 3.x or later Linux (64-bit)"
     "; system-large.vmdk scsi0:0 on lsilogic 4294967296/4294967296"
     "; model-large.vmdk scsi0:1 on lsilogic 4294967296/4294967296"
     "; (empty) scsi0:2 on lsilogic 0/4294967296; nic - Management VmxNet3"},
    {"ovf/govmomi/disk-capacity-property.ovf",
     "disk-capacity-property-vm: 1 CPU, 512 MiB, ?, ?; (empty) scsi0:0 on lsilogic 0/5368709120"},
};

static GBytes *
read_sample (const char *path)
{
  g_autoptr (GSubprocess) tar = NULL;
  g_autoptr (GError) error = NULL;
  GBytes *bytes = NULL;
  char *text;
  gsize size;

  if (!g_str_has_suffix (path, ".ova"))
    {
      g_file_get_contents (path, &text, &size, &error);
      g_assert_no_error (error);
      return g_bytes_new_take (text, size);
    }
  tar = g_subprocess_new (G_SUBPROCESS_FLAGS_STDOUT_PIPE, &error, "tar", "--wildcards", "-xOf",
                          path, "*.ovf", NULL);
  g_assert_no_error (error);
  g_subprocess_communicate (tar, NULL, NULL, &bytes, NULL, &error);
  g_assert_no_error (error);
  g_assert_true (g_subprocess_get_successful (tar));
  return bytes;
}

static void
test_samples (void)
{
  const char *data = g_getenv ("H2K_TESTDATA");

  if (!data)
    {
      g_test_skip ("H2K_TESTDATA, with real descriptors, is not set");
      return;
    }
  for (gsize i = 0; i < G_N_ELEMENTS (samples); i++)
    {
      g_autofree char *path = g_build_filename (data, samples[i].path, NULL);
      g_autoptr (GBytes) bytes = read_sample (path);
      g_autofree char *text = g_strndup (g_bytes_get_data (bytes, NULL), g_bytes_get_size (bytes));
      g_test_message ("%s", samples[i].path);
      assert_described (text, samples[i].expected);
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/ovf/units-of-every-dialect-are-read", test_units);
  g_test_add_func ("/ovf/file-names-are-decoded-and-stay-in-the-folder", test_hrefs);
  g_test_add_func ("/ovf/devices-find-their-controllers-and-files", test_devices);
  g_test_add_func ("/ovf/firmware-secure-boot-and-tpm-are-carried-over", test_firmware);
  g_test_add_func ("/ovf/the-disk-that-boots-comes-first", test_boot_order);
  g_test_add_func ("/ovf/the-default-configuration-is-taken", test_configurations);
  g_test_add_func ("/ovf/ovirt-is-understood", test_ovirt);
  g_test_add_func ("/ovf/version-2-is-understood", test_version_2);
  g_test_add_func ("/ovf/what-is-wrong-is-refused-with-a-reason", test_refused);
  g_test_add_func ("/ovf/attacks-on-the-parser-are-refused", test_attacks);
  g_test_add_func ("/ovf/a-part-of-a-descriptor-is-refused", test_truncated);
  g_test_add_func ("/ovf/real-descriptors-are-read", test_samples);
  return g_test_run ();
}
