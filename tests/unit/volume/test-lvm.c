/* test-lvm.c - LVM2 metadata that LVM2 wrote is understood, and damage is noticed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "lvm-images.h"

#include "volume/lvm-map.h"

#define MIB (1u << 20)

static H2kLvmMember *
read_member (H2kDisk *disk)
{
  g_autoptr (GError) error = NULL;
  H2kLvmMember *member = h2k_lvm_member_read (disk, &error);

  g_assert_no_error (error);
  return member;
}

static const H2kLvmLv *
find_lv (const H2kLvmMember *member, const char *name)
{
  for (guint i = 0; i < member->group->lvs->len; i++)
    {
      const H2kLvmLv *lv = member->group->lvs->pdata[i];
      if (g_str_equal (lv->name, name))
        return lv;
    }
  g_error ("there is no %s", name);
}

/* Segment I of the volume NAME begins at extent PE of the physical volume PV. */
static void
assert_area (const H2kLvmMember *member, const char *name, guint i, guint area_number, guint pv,
             guint64 pe, guint64 count)
{
  const H2kLvmSegment *segment = find_lv (member, name)->segments->pdata[i];
  const H2kLvmArea *area = &g_array_index (segment->areas, H2kLvmArea, area_number);

  g_assert_cmpuint (area_number, <, segment->areas->len);
  g_assert_cmpuint (area->pv, ==, pv);
  g_assert_cmpuint (area->start, ==, pe);
  g_assert_cmpuint (area->count, ==, count);
}

static void
test_linear (void)
{
  g_autoptr (H2kDisk) disk = lvm_load ("linear");
  g_autoptr (H2kLvmMember) member = read_member (disk);
  const H2kLvmPv *pv = member->group->pvs->pdata[0];

  g_assert_null (member->doubt);
  g_assert_cmpuint (member->areas->len, ==, 2);
  g_assert_cmpuint (g_array_index (member->areas, H2kLvmRange, 1).offset, ==, LVM_SECOND_AREA);
  g_assert_cmpstr (member->group->name, ==, "vg0");
  g_assert_cmpuint (member->group->seqno, ==, 8);
  g_assert_cmpuint (member->group->extent_size, ==, 4 * MIB);
  g_assert_cmpstr (pv->uuid, ==, member->uuid);
  g_assert_cmpuint (pv->pe_start, ==, 1 * MIB);
  g_assert_cmpuint (pv->pe_start, ==, member->data_offset);
  g_assert_cmpuint (pv->pe_count, ==, 255);
  g_assert_cmpuint (member->group->lvs->len, ==, 4);
  g_assert_cmpuint (find_lv (member, "root")->extents, ==, 16);
  g_assert_true (find_lv (member, "root")->is_plain);
  assert_area (member, "root", 0, 0, 0, 0, 10);
  assert_area (member, "root", 1, 0, 0, 98, 6);
  assert_area (member, "data", 0, 0, 0, 10, 80);
  assert_area (member, "swap_1", 0, 0, 0, 90, 8);
  assert_area (member, "unknown", 0, 0, 0, 129, 4);
}

static void
test_wrapped (void)
{
  g_autoptr (H2kDisk) disk = lvm_load ("wrapped");
  g_autoptr (H2kLvmMember) member = read_member (disk);

  g_assert_null (member->doubt);
  g_assert_cmpuint (member->group->seqno, ==, 75);
  g_assert_true (find_lv (member, "root")->is_plain);
}

static void
test_group (void)
{
  for (guint i = 0; i < 2; i++)
    {
      g_autoptr (H2kDisk) disk = lvm_load (i == 0 ? "group" : "group-second");
      g_autoptr (H2kLvmMember) member = read_member (disk);
      g_autoptr (GError) error = NULL;
      g_assert_cmpuint (member->pv, ==, i);
      g_assert_cmpuint (member->group->pvs->len, ==, 2);
      g_assert_false (member->group->is_partial);
      assert_area (member, "striped", 0, 0, 0, 10, 8);
      assert_area (member, "striped", 0, 1, 1, 0, 8);
      assert_area (member, "across", 0, 0, 0, 18, 5);
      assert_area (member, "across", 1, 0, 1, 8, 5);
      g_assert_true (find_lv (member, "plain")->is_plain);
      g_assert_false (find_lv (member, "striped")->is_plain);
      g_assert_null (h2k_lvm_lv_disk (disk, member, find_lv (member, "striped"), &error));
      g_assert_null (h2k_lvm_lv_disk (disk, member, find_lv (member, "across"), &error));
      g_assert_no_error (error);
    }
}

/* Only what nothing else is made of is plain. */
static void
test_kinds (void)
{
  g_autoptr (H2kDisk) disk = lvm_load ("pvmove");
  g_autoptr (H2kLvmMember) member = read_member (disk);

  g_assert_cmpuint (member->group->lvs->len, ==, 17);
  for (guint i = 0; i < member->group->lvs->len; i++)
    {
      const H2kLvmLv *lv = member->group->lvs->pdata[i];
      g_assert_cmpint (lv->is_plain, ==, g_str_equal (lv->name, "plain"));
    }
  assert_area (member, "pvmove0", 0, 0, 0, 40, 5);
  assert_area (member, "pvmove0", 0, 1, 0, 45, 5);
  assert_area (member, "moved", 0, 0, H2K_LVM_NO_PV, 0, 5);
  assert_area (member, "pool_tdata", 0, 0, 0, 12, 4);
}

static void
test_exported (void)
{
  g_autoptr (H2kDisk) disk = lvm_load ("exported");
  g_autoptr (H2kLvmMember) member = read_member (disk);

  g_assert_true (member->group->is_exported);
}

/* The disk of a volume in two pieces reads across the gap. */
static void
test_lv_disk (void)
{
  g_autoptr (H2kDisk) disk = lvm_load ("linear");
  g_autoptr (H2kLvmMember) member = read_member (disk);
  g_autoptr (H2kDisk) lv = h2k_lvm_lv_disk (disk, member, find_lv (member, "root"), NULL);
  char got[6];
  H2kExtent extent;

  g_assert_cmpuint (lv->size, ==, 64 * MIB);
  g_assert_false (h2k_disk_is_writable (lv));
  g_assert_true (h2k_disk_pwrite (disk, 41 * MIB - 3, 3, "abc", NULL));
  g_assert_true (h2k_disk_pwrite (disk, (1 + 98 * 4) * MIB, 3, "def", NULL));
  g_assert_true (h2k_disk_pread (lv, 40 * MIB - 3, 6, got, NULL));
  g_assert_cmpmem (got, 6, "abcdef", 6);
  g_assert_true (h2k_disk_extent (lv, 0, lv->size, &extent, NULL));
  g_assert_cmpint (extent.kind, ==, H2K_EXTENT_UNALLOCATED);
  g_assert_cmpuint (extent.length, ==, 40 * MIB - 65536);
  g_assert_true (h2k_disk_extent (lv, 40 * MIB - 1, lv->size, &extent, NULL));
  g_assert_cmpint (extent.kind, ==, H2K_EXTENT_DATA);
  g_assert_cmpuint (extent.length, ==, 65537); /* and on in the other piece */
}

/* --- damage ----------------------------------------------------------------------------------- */

static void
flip (H2kDisk *disk, guint64 offset)
{
  guint8 byte;

  g_assert_true (h2k_disk_pread (disk, offset, 1, &byte, NULL));
  byte ^= 1;
  g_assert_true (h2k_disk_pwrite (disk, offset, 1, &byte, NULL));
}

static guint64
text_offset (H2kDisk *disk, guint64 area)
{
  guint8 offset[8];

  g_assert_true (h2k_disk_pread (disk, area + 40, sizeof offset, offset, NULL));
  return area + h2k_le64 (offset);
}

/* With one of two areas damaged the other one counts, but with a doubt. */
static void
test_bad_area (void)
{
  for (guint i = 0; i < 4; i++)
    {
      g_autoptr (H2kDisk) disk = lvm_load ("linear");
      g_autoptr (H2kLvmMember) member = NULL;
      guint64 area = i % 2 ? LVM_FIRST_AREA : LVM_SECOND_AREA;
      flip (disk, i < 2 ? text_offset (disk, area) + 100 : area + 30);
      member = read_member (disk);
      g_assert_cmpuint (member->group->seqno, ==, 8);
      g_assert_nonnull (member->doubt);
    }
}

static void
test_both_areas_bad (void)
{
  g_autoptr (H2kDisk) disk = lvm_load ("linear");
  g_autoptr (H2kLvmMember) member = NULL;

  flip (disk, LVM_FIRST_AREA + 30);
  flip (disk, LVM_SECOND_AREA + 30);
  member = read_member (disk);
  g_assert_null (member->group);
  g_assert_nonnull (member->doubt);
}

static void
test_newest_counts (void)
{
  for (guint i = 0; i < 2; i++)
    {
      g_autoptr (H2kDisk) disk = lvm_load ("linear");
      g_autoptr (H2kLvmMember) member = NULL;
      lvm_edit (disk, i ? LVM_FIRST_AREA : LVM_SECOND_AREA, "seqno = 8", "seqno = 12");
      member = read_member (disk);
      g_assert_cmpuint (member->group->seqno, ==, 12);
      g_assert_nonnull (member->doubt);
    }
}

static void
test_interrupted (void)
{
  g_autoptr (H2kDisk) disk = lvm_load ("linear");
  g_autoptr (H2kLvmMember) member = NULL;

  g_assert_true (h2k_disk_pwrite (disk, LVM_FIRST_AREA + 64 + 1, 1, "\x40", NULL));
  lvm_seal (disk, LVM_FIRST_AREA);
  member = read_member (disk);
  g_assert_nonnull (member->doubt);
}

/* An area that is not in use does not count; one that is empty should not be. */
static void
test_unused_area (void)
{
  for (guint i = 0; i < 2; i++)
    {
      g_autoptr (H2kDisk) disk = lvm_load ("linear");
      g_autoptr (H2kLvmMember) member = NULL;
      guint8 zeros[24] = {0};
      if (i == 0)
        g_assert_true (h2k_disk_pwrite (disk, LVM_FIRST_AREA + 60, 1, "\1", NULL));
      else
        g_assert_true (h2k_disk_pwrite (disk, LVM_FIRST_AREA + 40, sizeof zeros, zeros, NULL));
      lvm_seal (disk, LVM_FIRST_AREA);
      member = read_member (disk);
      g_assert_cmpuint (member->group->seqno, ==, 8);
      g_assert_cmpint (member->doubt != NULL, ==, i == 1);
    }
}

static void
assert_unreadable (H2kDisk *disk, H2kError code)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kLvmMember) member = h2k_lvm_member_read (disk, &error);

  g_assert_error (error, H2K_ERROR, (int)code);
  g_assert_null (member);
}

static void
test_label (void)
{
  static const guint offsets[] = {512 + 8, 512 + 16, 512 + 20, 512 + 32, 512 + 500};

  for (gsize i = 0; i < G_N_ELEMENTS (offsets); i++)
    {
      g_autoptr (H2kDisk) disk = lvm_load ("linear");
      flip (disk, offsets[i]);
      assert_unreadable (disk, H2K_ERROR_FILESYSTEM);
    }
}

static void
test_wrong_text (void)
{
  static const struct
  {
    const char *from, *to;
    H2kError code;
  } cases[] = {
      {"type = \"striped\"", "type = \"curved\"", H2K_ERROR_UNSUPPORTED},
      {"format = \"lvm2\"", "format = \"lvm7\"", H2K_ERROR_UNSUPPORTED},
      {"extent_size = 8192", "extent_size = 0", H2K_ERROR_FILESYSTEM},
      {"extent_size = 8192", "extent_size = 99999999999999999999", H2K_ERROR_FILESYSTEM},
      {"extent_size = 8192", "", H2K_ERROR_FILESYSTEM},
      {"pe_count = 255", "pe_count = 4294967296", H2K_ERROR_FILESYSTEM},
      {"pe_start = 2048", "pe_start = 18446744073709551615", H2K_ERROR_FILESYSTEM},
      {"stripe_count = 1", "stripe_count = 0", H2K_ERROR_FILESYSTEM},
      {"stripe_count = 1", "stripe_count = 2", H2K_ERROR_FILESYSTEM},
      {"start_extent = 10", "start_extent = 11", H2K_ERROR_FILESYSTEM},
      {"\"pv0\", 98", "\"pv0\"", H2K_ERROR_FILESYSTEM},
      {"\"pv0\", 98", "\"pv0\", -1", H2K_ERROR_FILESYSTEM},
      {"\"pv0\", 98", "\"pv0\", 98", H2K_ERROR_FAILED}, /* no change */
      {"swap_1 {", "root {", H2K_ERROR_FILESYSTEM},
      {"vg0 {", "vg0 {}\nvg0 {", H2K_ERROR_FILESYSTEM},
      {"vg0 {", "vg0 ", H2K_ERROR_FILESYSTEM},
      {"seqno = 8", "seqno = \"8\"", H2K_ERROR_FILESYSTEM},
      {"seqno = 8", "seqno = 8 }", H2K_ERROR_FILESYSTEM},
      {"seqno = 8", "seqno = [ 8", H2K_ERROR_FILESYSTEM},
      {"seqno = 8", "seqno = [[8]]", H2K_ERROR_FILESYSTEM},
      {"seqno = 8", "seqno = \"8", H2K_ERROR_FILESYSTEM},
      {"id = \"", "id = \"x", H2K_ERROR_FILESYSTEM}, /* the volume's own, too */
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (H2kDisk) disk = lvm_load ("linear");
      lvm_edit (disk, LVM_FIRST_AREA, cases[i].from, cases[i].to);
      lvm_edit (disk, LVM_SECOND_AREA, cases[i].from, cases[i].to);
      if (cases[i].code == H2K_ERROR_FAILED)
        h2k_lvm_member_free (read_member (disk));
      else
        assert_unreadable (disk, cases[i].code);
    }
}

static void
test_missing (void)
{
  g_autoptr (H2kDisk) disk = lvm_load ("group");
  g_autoptr (H2kLvmMember) member = NULL;

  lvm_edit (disk, LVM_FIRST_AREA, "status = [\"ALLOCATABLE\"]\nflags = []",
            "status = [\"ALLOCATABLE\"]\nflags = [\"MISSING\"]");
  member = read_member (disk);
  g_assert_true (member->group->is_partial);
}

/* What is no more than odd. */
static void
test_text (void)
{
  static const char text[]
      = "# a comment { \"\n  contents=\"Text \\\"Format\\\" #\"\n\ng{id=\"\\\\\" # }\n"
        "seqno=1 extent_size=1 status=[] a=[1,2.5,-3,]physical_volumes{p{id=\"i\" pe_start=0\n"
        "pe_count=3}}logical_volumes{l{id=\"j\"s{type=\"zero+X\"start_extent=0 extent_count=2\n"
        "deep{er{and=1}}}}}}\nlast = 0";
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kLvmGroup) group = h2k_lvm_group_parse ("text", text, sizeof text - 1, &error);
  g_autoptr (GString) deep = g_string_new (NULL);

  g_assert_no_error (error);
  g_assert_cmpstr (group->name, ==, "g");
  g_assert_cmpuint (((H2kLvmLv *)group->lvs->pdata[0])->extents, ==, 2);
  /* Cut off anywhere, it is refused; only the last number may be shorter. */
  for (gsize i = 0; i < sizeof text - 12; i++)
    g_assert_null (h2k_lvm_group_parse ("text", text, i, NULL));
  for (guint i = 0; i < 100; i++)
    g_string_append (deep, "a {");
  for (guint i = 0; i < 100; i++)
    g_string_append (deep, "}");
  g_assert_null (h2k_lvm_group_parse ("text", deep->str, deep->len, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM);
}

/* --- what is not read --------------------------------------------------------------------------
 */

/* A group of one physical volume of 8 extents that is there, with the volumes of LVS. */
static GArray *
disks_of (const char *lvs, H2kLvmGroup **group)
{
  g_autofree char *text = g_strdup_printf (
      "vg { id = \"g\" seqno = 1 extent_size = 128 status = [\"READ\"] physical_volumes { pv0 { id "
      "= \"p\" pe_start = 0 pe_count = 8 } } logical_volumes { %s } }",
      lvs);
  g_autoptr (H2kDisk) pv = h2k_memory_disk_new (8 * 65536);
  g_autoptr (GError) error = NULL;

  *group = h2k_lvm_group_parse ("text", text, strlen (text), &error);
  g_assert_no_error (error);
  return h2k_lvm_group_disks (*group, &pv);
}

#define LV(name, status, segment)                                                                  \
  name " { id = \"" name "\" status = [" status                                                    \
       "] segment1 { start_extent = 0 extent_count = 2 " segment " } } "
#define SEEN "\"READ\", \"WRITE\", \"VISIBLE\""
#define HIDDEN "\"READ\", \"WRITE\""
#define STRIPED(start) "type = \"striped\" stripe_count = 1 stripes = [ \"pv0\", " start " ]"

/* The first volume of a group, and how it is refused (NULL: it is not). */
static const struct
{
  const char *lvs;
  H2kError code;
  const char *why;
} refused[] = {
    {LV ("a", SEEN, STRIPED ("0")), H2K_ERROR_FAILED, NULL},
    {LV ("a", SEEN, "type = \"cache\" cache_pool = \"b\" origin = \"c\""), H2K_ERROR_UNSUPPORTED,
     "vg/a (cache) is cached, and the cache may hold what its origin does not: detach it in the "
     "guest with lvconvert --uncache"},
    {LV ("a", SEEN, "type = \"cache+CVOL\" origin = \"c\""), H2K_ERROR_UNSUPPORTED,
     "lvconvert --uncache"},
    {LV ("a", SEEN, "type = \"writecache\" origin = \"c\""), H2K_ERROR_UNSUPPORTED,
     "lvconvert --splitcache"},
    {LV ("a", SEEN, "type = \"vdo\" vdo_pool = \"b\""), H2K_ERROR_UNSUPPORTED,
     "is compressed by VDO"},
    {LV ("a", SEEN, "type = \"vdo-pool\" data = \"b\""), H2K_ERROR_UNSUPPORTED, "pool of a VDO"},
    {LV ("a", SEEN, "type = \"integrity\" origin = \"b\""), H2K_ERROR_UNSUPPORTED,
     "lvconvert --raidintegrity n"},
    {LV ("a", SEEN, "type = \"mirror\" mirrors = [ \"b\", 0 ]"), H2K_ERROR_FILESYSTEM,
     "made of a volume that is not there"},
    {LV ("a", SEEN, "type = \"mirror\" mirror_log = \"b\"") LV ("b", HIDDEN, STRIPED ("0")),
     H2K_ERROR_FILESYSTEM, "has a damaged list of images"},
    {LV ("a", SEEN, "type = \"mirror\" mirrors = [ \"a\", 0 ]"), H2K_ERROR_FILESYSTEM,
     "vg/a is made of itself"},
    {LV ("a", SEEN, "type = \"raid6_ls_6\""), H2K_ERROR_UNSUPPORTED,
     "is a RAID 6 volume, which cannot be read: copy it in the guest"},
    {LV ("a", SEEN,
         "reshape_count = 1 type = \"raid10\" stripe_size = 128 raids = [ \"b\", \"b\" ]")
         LV ("b", HIDDEN, STRIPED ("0")),
     H2K_ERROR_UNSUPPORTED, "vg/a (raid10) was reshaped, and its images still have the room"},
    {LV ("a", SEEN, "type = \"error\""), H2K_ERROR_UNSUPPORTED, "has parts that were lost"},
    {LV ("a", SEEN ", \"LOCKED\"", STRIPED ("0")), H2K_ERROR_UNSUPPORTED,
     "is being changed (LOCKED): let that finish in the guest"},
    /* An origin that a snapshot is written back to is half of each. */
    {LV ("a", SEEN, STRIPED ("0"))
         LV ("s", SEEN, "type = \"snapshot\" chunk_size = 8 origin = \"a\" merging_store = \"c\"")
             LV ("c", HIDDEN, STRIPED ("2")),
     H2K_ERROR_UNSUPPORTED, "a snapshot is being merged into vg/a: let that finish in the guest"},
    {LV ("a", SEEN, "type = \"thin\" thin_pool = \"b\" device_id = 1")
         LV ("s", SEEN, "type = \"thin\" thin_pool = \"b\" device_id = 2 merge = \"a\""),
     H2K_ERROR_UNSUPPORTED, "a snapshot is being merged into vg/a"},
    /* Descriptions that are no pools. */
    {LV ("a", SEEN, "type = \"thin\" device_id = 1"), H2K_ERROR_FILESYSTEM, "has no thin pool"},
    {LV ("a", SEEN, "type = \"thin\" thin_pool = \"a\""), H2K_ERROR_FILESYSTEM, "is no thin pool"},
    {LV ("a", SEEN, "type = \"thin\" thin_pool = \"b\"")
         LV ("b", SEEN, "type = \"thin-pool\" metadata = \"a\" pool = \"a\""),
     H2K_ERROR_FILESYSTEM, "vg/a is made of itself"},
    {LV ("a", SEEN, "type = \"thin\" thin_pool = \"b\"")
         LV ("b", SEEN, "type = \"thin-pool\" metadata = \"c\" pool = \"d\"")
             LV ("c", HIDDEN, STRIPED ("0")) LV ("d", HIDDEN, "type = \"cache\""),
     H2K_ERROR_UNSUPPORTED, "vg/d (cache) is cached"},
    {LV ("a", SEEN, "type = \"thin\" thin_pool = \"b\"")
         LV ("b", SEEN, "type = \"thin-pool\" metadata = \"c\" pool = \"d\"")
             LV ("c", HIDDEN, STRIPED ("0")) LV ("d", HIDDEN, STRIPED ("2")),
     H2K_ERROR_FILESYSTEM, "the metadata of the thin pool vg/b is damaged: no superblock"},
};

static void
test_refused (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (refused); i++)
    {
      g_autoptr (H2kLvmGroup) group = NULL;
      g_autoptr (GArray) disks = disks_of (refused[i].lvs, &group);
      const H2kLvmDisk *first = &g_array_index (disks, H2kLvmDisk, 0);

      g_test_message ("%s", refused[i].lvs);
      if (!refused[i].why)
        {
          g_assert_no_error (first->problem);
          g_assert_nonnull (first->disk);
          g_assert_true (h2k_disk_is_writable (first->disk));
          continue;
        }
      g_assert_null (first->disk);
      g_assert_error (first->problem, H2K_ERROR, (int)refused[i].code);
      if (!strstr (first->problem->message, refused[i].why))
        g_error ("\"%s\" does not say \"%s\"", first->problem->message, refused[i].why);
    }
}

/* The origin of a snapshot, and a volume that thin ones have for their origin, are not written. */
static void
test_origins (void)
{
  static const char *const users[]
      = {LV ("s", SEEN, "type = \"snapshot\" chunk_size = 8 origin = \"a\" cow_store = \"c\""),
         LV ("s", SEEN, "type = \"thin\" thin_pool = \"b\" device_id = 2 external_origin = \"a\"")};

  for (guint i = 0; i < G_N_ELEMENTS (users); i++)
    {
      g_autofree char *lvs = g_strconcat (LV ("a", SEEN, STRIPED ("0")), users[i], NULL);
      g_autoptr (H2kLvmGroup) group = NULL;
      g_autoptr (GArray) disks = disks_of (lvs, &group);
      const H2kLvmDisk *first = &g_array_index (disks, H2kLvmDisk, 0);

      g_assert_no_error (first->problem);
      g_assert_false (h2k_disk_is_writable (first->disk));
      g_assert_nonnull (strstr (first->note, "it has snapshots"));
    }
}

/* Volumes on volumes: each of N pairs lies eight times on the one before it. The last one's
 * problem.
 */
static GError *
problem_of_layers (guint n)
{
  g_autoptr (GString) lvs = g_string_new (NULL);
  g_autoptr (H2kLvmGroup) group = NULL;
  g_autoptr (GArray) disks = NULL;
  H2kLvmDisk *last;

  for (guint i = 0; i < 2 * n; i++)
    {
      g_string_append_printf (
          lvs,
          "l%u { id = \"l%u\" status = [%s] segment1 { start_extent = 0 "
          "extent_count = 8 type = \"striped\" stripe_count = 8 stripe_size = 8 "
          "stripes = [ ",
          i, i, i == 2 * n - 1 ? SEEN : HIDDEN);
      for (guint k = 0; k < 8; k++)
        if (i < 2)
          g_string_append_printf (lvs, "%s\"pv0\", %u", k ? ", " : "", k);
        else
          g_string_append_printf (lvs, "%s\"l%u\", %u", k ? ", " : "", i / 2 * 2 - 2 + k % 2, k);
      g_string_append (lvs, " ] } } ");
    }
  disks = disks_of (lvs->str, &group);
  last = &g_array_index (disks, H2kLvmDisk, 2 * n - 1);
  if (last->disk)
    g_assert_true (h2k_disk_pwrite (last->disk, 0, 4, "abcd", NULL)
                   && h2k_disk_flush (last->disk, NULL));
  return g_steal_pointer (&last->problem);
}

/* A flush of all that a volume lies on, layer below layer, has an end. */
static void
test_layers (void)
{
  g_autoptr (GError) few = problem_of_layers (4), many = problem_of_layers (12);

  g_assert_no_error (few);
  g_assert_error (many, H2K_ERROR, H2K_ERROR_UNSUPPORTED);
  g_assert_nonnull (strstr (many->message, "in too many ways"));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/lvm/linear", test_linear);
  g_test_add_func ("/lvm/wrapped", test_wrapped);
  g_test_add_func ("/lvm/group", test_group);
  g_test_add_func ("/lvm/kinds", test_kinds);
  g_test_add_func ("/lvm/exported", test_exported);
  g_test_add_func ("/lvm/lv-disk", test_lv_disk);
  g_test_add_func ("/lvm/bad-area", test_bad_area);
  g_test_add_func ("/lvm/both-areas-bad", test_both_areas_bad);
  g_test_add_func ("/lvm/newest-counts", test_newest_counts);
  g_test_add_func ("/lvm/interrupted", test_interrupted);
  g_test_add_func ("/lvm/unused-area", test_unused_area);
  g_test_add_func ("/lvm/label", test_label);
  g_test_add_func ("/lvm/wrong-text", test_wrong_text);
  g_test_add_func ("/lvm/missing", test_missing);
  g_test_add_func ("/lvm/text", test_text);
  g_test_add_func ("/lvm/refused", test_refused);
  g_test_add_func ("/lvm/origins", test_origins);
  g_test_add_func ("/lvm/layers", test_layers);
  return g_test_run ();
}
