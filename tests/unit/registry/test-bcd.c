/* test-bcd.c - boot configuration data: a real store of Windows 10, damaged elements, and elements
 * that are changed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "hives.h"

#include "registry/bcd.h"

#define LOADER "{733b62e5-f608-11eb-825c-c112f60133ab}"
#define RESUME "{733b62e4-f608-11eb-825c-c112f60133ab}"
#define ELEMENTS "Objects\\{1}\\Elements\\"

/* The real store as /config/HIVE; NULL: skipped. */
static H2kFs *
real_store (void)
{
  g_autoptr (GBytes) hive = hives_sample ("regipy/BCD.xz");
  H2kFs *fs = hive ? hives_fs_new ("fat", 64u << 20) : NULL;

  if (fs)
    hives_put (fs, "/config/HIVE", hive);
  return fs;
}

/* An empty hive, writable; NULL: skipped. */
static H2kFs *
empty_store (void)
{
  g_autoptr (GBytes) hive = hives_empty (3);
  H2kFs *fs = hives_fs_new ("fat", 64u << 20);

  if (fs)
    hives_put (fs, "/config/HIVE", hive);
  return fs;
}

static void
assert_text (const H2kBcdObject *object, guint32 type, const char *expected)
{
  g_autofree char *text = h2k_bcd_text (object, type);

  g_assert_cmpstr (text, ==, expected);
}

static void
assert_device (const H2kBcdObject *object, guint32 type, const char *expected)
{
  H2kBcdDevice device = h2k_bcd_device (object, type);
  g_autofree char *text = h2k_bcd_device_to_text (&device);

  g_assert_cmpstr (text, ==, expected);
}

static void
test_manager (void)
{
  g_autoptr (H2kFs) fs = real_store ();
  g_autoptr (H2kHive) hive = fs ? hives_open (fs, FALSE) : NULL;
  g_autoptr (H2kBcd) bcd = hive ? h2k_bcd_read (hive, NULL) : NULL;
  const H2kBcdObject *manager = bcd ? h2k_bcd_find (bcd, H2K_BCD_BOOTMGR) : NULL;
  g_auto (GStrv) order = NULL;
  guint64 timeout = 0;

  if (!fs)
    return;
  g_assert_nonnull (manager);
  g_assert_cmphex (manager->type, ==, H2K_BCD_TYPE_BOOTMGR);
  assert_text (manager, H2K_BCD_DEFAULT, LOADER);
  assert_text (manager, H2K_BCD_PATH, "\\EFI\\Microsoft\\Boot\\bootmgfw.efi");
  assert_text (manager, H2K_BCD_DESCRIPTION, "Windows Boot Manager");
  assert_device (manager, H2K_BCD_DEVICE,
                 "partition 36be3955-63bf-4068-a6ab-00195cca3a22 of disk "
                 "0b2394a9-095e-487d-8d48-719ecd4d78ca");
  g_assert_true (h2k_bcd_number (manager, H2K_BCD_TIMEOUT, &timeout));
  g_assert_cmpuint (timeout, ==, 30);
  order = h2k_bcd_objects (manager, H2K_BCD_DISPLAY_ORDER);
  g_assert_cmpuint (g_strv_length (order), ==, 1);
  g_assert_cmpstr (order[0], ==, LOADER);
  g_assert_false (h2k_bcd_is_set (bcd, manager, H2K_BCD_BOOT_EMS));
}

static void
test_loader (void)
{
  g_autoptr (H2kFs) fs = real_store ();
  g_autoptr (H2kHive) hive = fs ? hives_open (fs, FALSE) : NULL;
  g_autoptr (H2kBcd) bcd = hive ? h2k_bcd_read (hive, NULL) : NULL;
  const H2kBcdObject *loader = bcd ? h2k_bcd_find (bcd, LOADER) : NULL;
  H2kBcdDevice device, os;

  if (!fs)
    return;
  g_assert_nonnull (loader);
  g_assert_cmphex (loader->type, ==, H2K_BCD_TYPE_LOADER);
  assert_text (loader, H2K_BCD_PATH, "\\Windows\\system32\\winload.efi");
  assert_text (loader, H2K_BCD_SYSTEM_ROOT, "\\Windows");
  assert_text (loader, H2K_BCD_RESUME_OBJECT, RESUME);
  device = h2k_bcd_device (loader, H2K_BCD_DEVICE);
  os = h2k_bcd_device (loader, H2K_BCD_OS_DEVICE);
  g_assert_cmpint (device.kind, ==, H2K_BCD_GPT);
  g_assert_true (h2k_bcd_device_equal (&device, &os));
  g_assert_cmphex (h2k_bcd_find (bcd, RESUME)->type, ==, H2K_BCD_TYPE_RESUME);
  g_assert_null (h2k_bcd_find (bcd, "{00000000-0000-0000-0000-000000000000}"));
  g_assert_null (h2k_bcd_find (bcd, NULL));
}

/* What Windows wrote comes out again, byte for byte. */
static void
test_same_bytes (void)
{
  g_autoptr (H2kFs) fs = real_store ();
  g_autoptr (H2kHive) hive = fs ? hives_open (fs, TRUE) : NULL;
  g_autoptr (H2kBcd) bcd = hive ? h2k_bcd_read (hive, NULL) : NULL;
  guint n = 0;

  for (guint i = 0; bcd && i < bcd->objects->len; i++)
    {
      const H2kBcdObject *object = bcd->objects->pdata[i];
      H2kBcdDevice device = h2k_bcd_device (object, H2K_BCD_DEVICE);

      if (device.kind != H2K_BCD_GPT && device.kind != H2K_BCD_MBR)
        continue;
      g_assert_true (h2k_bcd_set_device (hive, object, H2K_BCD_DEVICE, &device, NULL));
      n++;
    }
  if (!fs)
    return;
  g_assert_cmpuint (n, >=, 3);
  g_assert_false (h2k_hive_is_changed (hive));
}

static void
put (H2kHive *hive, const char *type, gconstpointer data, gsize length)
{
  g_autofree char *key = g_strconcat (ELEMENTS, type, NULL);
  g_autoptr (H2kRegValue) value = h2k_reg_binary ("Element", data, length);

  g_assert_true (h2k_hive_set (hive, key, value, NULL));
}

static void
test_devices (void)
{
  static const struct
  {
    guint length, type, disk, table;
    const char *text;
  } cases[] = {
      {88, 6, 0, 1, "partition at 1048576 of disk 12345678"},
      {72, 6, 0, 1, "partition at 1048576 of disk 12345678"},
      {71, 6, 0, 1, "none"},
      {88, 6, 0, 2, "other"},
      {88, 6, 2, 1, "other"},
      {88, 5, 0, 0, "boot"},
      {32, 5, 0, 0, "boot"},
      {31, 5, 0, 0, "none"},
      {88, 8, 0, 0, "locate"},
      {400, 0, 3, 0, "other"},
      {88, 4, 0, 0, "other"},
      {1, 0, 0, 0, "none"},
  };
  g_autoptr (H2kFs) fs = empty_store ();
  g_autoptr (H2kHive) hive = fs ? hives_open (fs, TRUE) : NULL;

  for (guint i = 0; hive && i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (H2kBcd) bcd = NULL;
      guint8 bytes[400] = {0};

      bytes[16] = (guint8)cases[i].type;
      bytes[34] = 0x10;
      bytes[48] = (guint8)cases[i].disk;
      bytes[52] = (guint8)cases[i].table;
      memcpy (bytes + 56, "\x78\x56\x34\x12", 4);
      put (hive, "11000001", bytes, cases[i].length);
      bcd = h2k_bcd_read (hive, NULL);
      g_assert_nonnull (bcd);
      assert_device (bcd->objects->pdata[0], H2K_BCD_DEVICE, cases[i].text);
    }
}

static void
test_set_device (void)
{
  g_autoptr (H2kFs) fs = empty_store ();
  g_autoptr (H2kHive) hive = fs ? hives_open (fs, TRUE) : NULL;
  H2kBcdDevice device = {.kind = H2K_BCD_MBR, .signature = 0xcafe1234, .offset = 1u << 20};
  g_autoptr (H2kBcd) before = NULL, after = NULL;
  g_autoptr (H2kRegValue) value = NULL;
  guint8 options[88];

  if (!hive)
    return;
  memset (options, 0x5a, sizeof options);
  put (hive, "11000001", options, sizeof options);
  before = h2k_bcd_read (hive, NULL);
  g_assert_true (
      h2k_bcd_set_device (hive, before->objects->pdata[0], H2K_BCD_DEVICE, &device, NULL));
  after = h2k_bcd_read (hive, NULL);
  assert_device (after->objects->pdata[0], H2K_BCD_DEVICE, "partition at 1048576 of disk cafe1234");
  value = h2k_hive_get (hive, ELEMENTS "11000001", "Element");
  g_assert_cmpuint (g_bytes_get_size (value->data), ==, 88);
  g_assert_cmpmem (g_bytes_get_data (value->data, NULL), 16, options, 16);
}

static void
test_inheritance (void)
{
  const char *const circle[] = {"{1}", "{2}", NULL};
  g_autoptr (H2kFs) fs = empty_store ();
  g_autoptr (H2kHive) hive = fs ? hives_open (fs, TRUE) : NULL;
  g_autoptr (H2kRegValue) list = h2k_reg_strings ("Element", circle);
  g_autoptr (H2kRegValue) on = h2k_reg_binary ("Element", "\1", 1);
  g_autoptr (H2kBcd) bcd = NULL;
  const H2kBcdObject *object;

  if (!hive)
    return;
  g_assert_true (h2k_hive_set (hive, ELEMENTS "14000006", list, NULL));
  g_assert_true (h2k_hive_set (hive, "Objects\\{2}\\Elements\\260000b0", on, NULL));
  put (hive, "16000046", "\0", 1);
  bcd = h2k_bcd_read (hive, NULL);
  object = h2k_bcd_find (bcd, "{1}");
  g_assert_true (h2k_bcd_is_set (bcd, object, H2K_BCD_EMS));
  g_assert_false (h2k_bcd_is_set (bcd, object, H2K_BCD_GRAPHICS_DISABLED));
  g_assert_false (h2k_bcd_is_set (bcd, object, H2K_BCD_KERNEL_DEBUG));
}

static void
test_no_store (void)
{
  g_autoptr (H2kFs) fs = empty_store ();
  g_autoptr (H2kHive) hive = fs ? hives_open (fs, FALSE) : NULL;
  g_autoptr (GError) error = NULL;

  if (!hive)
    return;
  g_assert_null (h2k_bcd_read (hive, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/bcd/a real store's boot manager says what bcdedit says", test_manager);
  g_test_add_func ("/bcd/a real store's loader leads to Windows", test_loader);
  g_test_add_func ("/bcd/devices of a real store are written as Windows wrote them",
                   test_same_bytes);
  g_test_add_func ("/bcd/device elements of all kinds and lengths are told apart", test_devices);
  g_test_add_func ("/bcd/a device that is set keeps its additional options", test_set_device);
  g_test_add_func ("/bcd/settings are inherited, and circles end", test_inheritance);
  g_test_add_func ("/bcd/a hive without objects is no store", test_no_store);
  return g_test_run ();
}
