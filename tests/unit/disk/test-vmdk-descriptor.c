/* test-vmdk-descriptor.c - the text of VMDK descriptors, as written by many programs and damaged.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/vmdk.h"

static H2kVmdkDescriptor *
parse (const char *text, GError **error)
{
  return h2k_vmdk_descriptor_parse (text, strlen (text), "test.vmdk", error);
}

static const H2kVmdkExtent *
extent (const H2kVmdkDescriptor *d, guint i)
{
  g_assert_cmpuint (i, <, d->extents->len);
  return &g_array_index (d->extents, H2kVmdkExtent, i);
}

static void
test_everything_is_kept (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kVmdkDescriptor) d = parse (
      "# Disk DescriptorFile\nversion=3\nencoding=\"UTF-8\"\nCID=fffffffe\nparentCID=ffffffff\n"
      "isNativeSnapshot=\"no\"\ncreateType=\"vmfs\"\n\n# Extent description\n"
      "RW 4192256 VMFS \"my vm-flat.vmdk\"\nRDONLY 63 FLAT \"a b.vmdk\" 17\nNOACCESS 2 ZERO\n"
      "RW 1 SPARSE \"s.vmdk\"\n\n# Change Tracking File\nchangeTrackPath=\"my-ctk.vmdk\"\n"
      "# The Disk Data Base\n#DDB\nddb.adapterType = \"lsilogic\"\n"
      "ddb.geometry.cylinders = \"522\"\nddb.geometry.heads = \"255\"\n"
      "ddb.geometry.sectors = \"63\"\nddb.longContentID = \"0123456789abcdef\"\n"
      "ddb.uuid = \"60 00 C2 9f\"\nddb.virtualHWVersion = \"14\"\nddb.thinProvisioned = \"1\"\n",
      &error);

  g_assert_no_error (error);
  g_assert_cmpuint (d->version, ==, 3);
  g_assert_cmphex (d->cid, ==, 0xfffffffe);
  g_assert_cmphex (d->parent_cid, ==, H2K_VMDK_NO_PARENT);
  g_assert_cmpstr (d->create_type, ==, "vmfs");
  g_assert_cmpstr (d->change_track, ==, "my-ctk.vmdk");
  g_assert_cmpstr (d->adapter_type, ==, "lsilogic");
  g_assert_cmpstr (d->uuid, ==, "60 00 C2 9f");
  g_assert_cmpstr (d->hardware_version, ==, "14");
  g_assert_cmpstr (d->thin_provisioned, ==, "1");
  g_assert_null (d->parent_hint);
  g_assert_cmpuint (d->cylinders, ==, 522);
  g_assert_cmpuint (d->heads, ==, 255);
  g_assert_cmpuint (d->sectors, ==, 63);
  g_assert_cmpuint (d->extents->len, ==, 4);
  g_assert_cmpint (extent (d, 0)->type, ==, H2K_VMDK_VMFS);
  g_assert_cmpuint (extent (d, 0)->sectors, ==, 4192256);
  g_assert_cmpstr (extent (d, 0)->name, ==, "my vm-flat.vmdk");
  g_assert_cmpint (extent (d, 1)->access, ==, H2K_VMDK_RDONLY);
  g_assert_cmpuint (extent (d, 1)->offset, ==, 17);
  g_assert_cmpstr (extent (d, 1)->name, ==, "a b.vmdk");
  g_assert_cmpint (extent (d, 2)->access, ==, H2K_VMDK_NOACCESS);
  g_assert_cmpint (extent (d, 2)->type, ==, H2K_VMDK_ZERO);
  g_assert_null (extent (d, 2)->name);
  g_assert_cmpint (extent (d, 3)->type, ==, H2K_VMDK_SPARSE);
}

/* The same disk in every spelling. */
static void
test_spelling (void)
{
  static const char *const texts[] = {
      "version=1\nCID=0000000a\nRW 8 FLAT \"x y.vmdk\" 2\nddb.adapterType=\"ide\"\n",
      "version=1\r\nCID=0000000A\r\nRW 8 FLAT \"x y.vmdk\" 2\r\nddb.adapterType=\"ide\"\r\n",
      "version=1\rCID=a\rRW 8 FLAT \"x y.vmdk\" 2\rddb.adapterType=ide",
      "\xef\xbb\xbfversion = 1\nCID = a\nRW 8 FLAT \"x y.vmdk\" 2\nddb.adapterType = \"ide\" \n",
      "  VERSION=\"1\"  \n\tcid\t=\ta\n rw\t8   flat  \"x y.vmdk\"\t2  \nDDB.ADAPTERTYPE = "
      "\"ide\"",
      "# c\n\n#\nversion=1\n# RW 1 ZERO\nCID=a\nRW 8 FLAT \"x y.vmdk\" 2 partitionUUID "
      "\\\\.\\dev0\n"
      "ddb.adapterType=ide\nddb.comment = \"RW 9 ZERO\"\nddb.geometry.heads = \"\"\n",
  };

  for (gsize i = 0; i < G_N_ELEMENTS (texts); i++)
    {
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kVmdkDescriptor) d = parse (texts[i], &error);
      g_assert_no_error (error);
      g_assert_cmpuint (d->version, ==, 1);
      g_assert_cmphex (d->cid, ==, 10);
      g_assert_cmphex (d->parent_cid, ==, H2K_VMDK_NO_PARENT);
      g_assert_cmpstr (d->adapter_type, ==, "ide");
      g_assert_cmpuint (d->extents->len, ==, 1);
      g_assert_cmpuint (extent (d, 0)->sectors, ==, 8);
      g_assert_cmpuint (extent (d, 0)->offset, ==, 2);
      g_assert_cmpstr (extent (d, 0)->name, ==, "x y.vmdk");
    }
}

static void
test_embedded_text_ends_at_nul (void)
{
  static const char text[] = "version=1\nRW 8 ZERO\n\0\0garbage\n\xff";
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kVmdkDescriptor) d
      = h2k_vmdk_descriptor_parse (text, sizeof text, "test.vmdk", &error);

  g_assert_no_error (error);
  g_assert_cmpuint (d->extents->len, ==, 1);
}

static void
test_encodings (void)
{
  static const struct
  {
    const char *text;
    const char *name;
    int code;
  } cases[] = {
      {"encoding=\"windows-1252\"\nRW 1 SPARSE \"gr\xfc\xdf.vmdk\"\n", "gr\xc3\xbc\xc3\x9f.vmdk",
       -1},
      {"version=1\nRW 1 SPARSE \"\x83\x65.vmdk\"\nEncoding = Shift_JIS\n", "\xe3\x83\x86.vmdk", -1},
      {"encoding=\"UTF-8\"\nRW 1 SPARSE \"\xc3\xbc.vmdk\"\n", "\xc3\xbc.vmdk", -1},
      /* A file name is bytes: it is kept when the descriptor does not say what they mean. */
      {"RW 1 SPARSE \"\xfc.vmdk\"\n", "\xfc.vmdk", -1},
      /* An encoding is of no interest where it makes no difference. */
      {"encoding=\"no-such\"\nRW 1 SPARSE \"u.vmdk\"\n", "u.vmdk", -1},
      {"encoding=\"no-such\"\nRW 1 SPARSE \"\xfc.vmdk\"\n", NULL, H2K_ERROR_UNSUPPORTED},
      {"encoding=\"Shift_JIS\"\nRW 1 SPARSE \"\xfc.vmdk\"\n", NULL, H2K_ERROR_FORMAT},
      {"encoding=\"GBK\"\nRW 1 SPARSE \"\xb4\xc5\xc5\xcc.vmdk\"\n", "\xe7\xa3\x81\xe7\x9b\x98.vmdk",
       -1},
      /* Somebody converted the text, but for its own word. */
      {"encoding=\"US-ASCII\"\nRW 1 SPARSE \"\xc3\xbc.vmdk\"\n", "\xc3\xbc.vmdk", -1},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kVmdkDescriptor) d = parse (cases[i].text, &error);
      if (cases[i].name)
        {
          g_assert_no_error (error);
          g_assert_cmpstr (extent (d, 0)->name, ==, cases[i].name);
        }
      else
        {
          g_assert_error (error, H2K_ERROR, cases[i].code);
          g_assert_nonnull (strstr (error->message, "encoding"));
        }
    }
}

/* As Windows' editors save it, in both byte orders, and as Macs once ended lines. */
static void
test_utf16 (void)
{
  const char *text
      = "\xef\xbb\xbf# Disk DescriptorFile\rversion=1\rRW 1 FLAT \"\xc3\xbc.vmdk\" 0\r";
  static const char *const encodings[] = {"UTF-8", "UTF-16LE", "UTF-16BE"};

  for (gsize i = 0; i < G_N_ELEMENTS (encodings); i++)
    {
      gsize size;
      g_autofree char *wide = g_convert (text, -1, encodings[i], "UTF-8", NULL, &size, NULL);
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kVmdkDescriptor) d = NULL;

      g_assert_nonnull (wide);
      g_assert_true (h2k_vmdk_is_descriptor ((const guint8 *)wide, size));
      d = h2k_vmdk_descriptor_parse (wide, size, "x", &error);
      g_assert_no_error (error);
      g_assert_cmpstr (extent (d, 0)->name, ==, "\xc3\xbc.vmdk");
    }
}

static void
test_what_is_refused (void)
{
  static const char *const texts[] = {
      "",
      "version=1\nCID=1\n",
      "RW\n",
      "RW 8\n",
      "RW 8 FLAT\n",
      "RW 8 FLAT \"\" 0\n",
      "RW 8 FLAT \"x\n",
      "RW 8 FLAT \"x\" -1\n",
      "RW 8 FLAT \"x\" 1x\n",
      "RW 0 ZERO\n",
      "RW -8 ZERO\n",
      "RW 8x ZERO\n",
      "RW 8 ROUND \"x\"\n",
      "RW 18014398509481984 ZERO\n",
      "RW 99999999999999999999999 ZERO\n",
      "RW 8 FLAT \"x\" 18014398509481976\n",
      "RW 18014398509481983 ZERO\nRW 1 ZERO\n",
      "version=one\nRW 8 ZERO\n",
      "CID=1234567890\nRW 8 ZERO\n",
      "parentCID=\nRW 8 ZERO\n",
      "RW 8 ZERO\nR 8 ZERO\n",
      "RW 8 ZERO\n\x01\x02\n",
  };

  for (gsize i = 0; i < G_N_ELEMENTS (texts); i++)
    {
      g_autoptr (GError) error = NULL;
      g_assert_null (parse (texts[i], &error));
      g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
      g_assert_true (g_str_has_prefix (error->message, "test.vmdk: "));
      g_assert_null (strchr (error->message, '\x01'));
    }
}

static void
test_recognition (void)
{
  static const struct
  {
    const char *text;
    gboolean is;
  } cases[] = {
      {"# Disk DescriptorFile\nversion=1\n", TRUE},
      {"# disk descriptorfile\r\n", TRUE},
      {"\xef\xbb\xbf\n\n# Disk DescriptorFile", TRUE},
      {"\n# something\n version = 1\n", TRUE},
      {"", FALSE},
      {"# only a comment\n", FALSE},
      {"#!/bin/sh\nversion() { true; }\n", FALSE},
      {"KDMV", FALSE},
      {"RW 1 ZERO\n", FALSE},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    g_assert_cmpint (h2k_vmdk_is_descriptor ((const guint8 *)cases[i].text, strlen (cases[i].text)),
                     ==, cases[i].is);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/vmdk/descriptor/everything is kept", test_everything_is_kept);
  g_test_add_func ("/vmdk/descriptor/spelling does not matter", test_spelling);
  g_test_add_func ("/vmdk/descriptor/embedded text ends at NUL", test_embedded_text_ends_at_nul);
  g_test_add_func ("/vmdk/descriptor/encodings", test_encodings);
  g_test_add_func ("/vmdk/descriptor/UTF-16 and old line ends", test_utf16);
  g_test_add_func ("/vmdk/descriptor/damaged ones are refused", test_what_is_refused);
  g_test_add_func ("/vmdk/descriptor/recognition", test_recognition);
  return g_test_run ();
}
