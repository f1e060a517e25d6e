/* test-virtio-win.c - for every release of Windows the right drivers come from the ISO of
 * virtio-win, from a folder and from the installed package, and where there are none it is said
 * what there is.
 *
 * The source is the stand-in that tests/windows/make-virtio-win builds; what it holds is compared
 * with the facts as they are known of the real one, which the tables here repeat.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "drivers/virtio-win.h"

#include <stdlib.h>
#include <unistd.h>

#define SCSI "{4D36E97B-E325-11CE-BFC1-08002BE10318}"
#define NET "{4D36E972-E325-11CE-BFC1-08002BE10318}"
#define SYSTEM "{4D36E97D-E325-11CE-BFC1-08002BE10318}"
#define DISPLAY "{4D36E968-E325-11CE-BFC1-08002BE10318}"
#define HID "{745A17A0-74D3-11D0-B6FE-00A0C90F57DA}"
#define MULTI "{4D36E971-E325-11CE-BFC1-08002BE10318}"

#define X86 H2K_WINDOWS_X86
#define AMD H2K_WINDOWS_AMD64
#define ARM H2K_WINDOWS_ARM64
#define CLIENT H2K_WINDOWS_CLIENT
#define SERVER H2K_WINDOWS_SERVER

/* The releases, and the folder that serves each. */
static const struct
{
  H2kWindowsRelease release;
  const char *folder;
} releases[] = {
    {{5, 1, 2600, CLIENT, X86}, "xp/x86"},
    {{5, 2, 3790, CLIENT, AMD}, "xp/amd64"},
    {{5, 2, 3790, SERVER, X86}, "2k3/x86"},
    {{5, 2, 3790, SERVER, AMD}, "2k3/amd64"},
    {{6, 0, 6002, CLIENT, X86}, "2k8/x86"},
    {{6, 0, 6002, CLIENT, AMD}, "2k8/amd64"},
    {{6, 0, 6003, SERVER, AMD}, "2k8/amd64"},
    {{6, 1, 7601, CLIENT, X86}, "w7/x86"},
    {{6, 1, 7601, CLIENT, AMD}, "w7/amd64"},
    {{6, 1, 7601, SERVER, AMD}, "2k8R2/amd64"},
    {{6, 2, 9200, CLIENT, X86}, "w8/x86"},
    {{6, 2, 9200, SERVER, AMD}, "2k12/amd64"},
    {{6, 3, 9600, CLIENT, AMD}, "w8.1/amd64"},
    {{6, 3, 9600, SERVER, AMD}, "2k12R2/amd64"},
    {{10, 0, 10240, CLIENT, X86}, "w10/x86"},
    {{10, 0, 19045, CLIENT, AMD}, "w10/amd64"},
    {{10, 0, 19045, CLIENT, ARM}, "w10/ARM64"},
    {{10, 0, 14393, SERVER, AMD}, "2k16/amd64"},
    {{10, 0, 17763, H2K_WINDOWS_DOMAIN_CONTROLLER, AMD}, "2k19/amd64"},
    {{10, 0, 20348, SERVER, AMD}, "2k22/amd64"},
    {{10, 0, 22000, CLIENT, AMD}, "w11/amd64"},
    {{10, 0, 26100, CLIENT, AMD}, "w11/amd64"},
    {{10, 0, 22631, CLIENT, ARM}, "w11/ARM64"},
    {{10, 0, 26100, SERVER, AMD}, "2k25/amd64"},
};

/* The drivers; LEGACY and MODERN are devices with their subsystems, SINCE the first version. */
static const struct
{
  const char *name, *inf, *class_guid, *service;
  const char *legacy, *modern;
  guint start;
  const char *group;
  H2kDriverRole role;
  guint since;
} facts[] = {
    {"viostor", "viostor.inf", SCSI, "viostor", "1001&SUBSYS_00021AF4", "1042", 0, "SCSI miniport",
     H2K_DRIVER_STORAGE, 51},
    {"vioscsi", "vioscsi.inf", SCSI, "vioscsi", "1004&SUBSYS_00081AF4", "1048", 0, "SCSI miniport",
     H2K_DRIVER_STORAGE, 60},
    {"NetKVM", "netkvm.inf", NET, "netkvm", "1000&SUBSYS_00011AF4", "1041", 3, "NDIS",
     H2K_DRIVER_NETWORK, 51},
    {"Balloon", "balloon.inf", SYSTEM, "BALLOON", "1002&SUBSYS_00051AF4", "1045", 3, NULL,
     H2K_DRIVER_OTHER, 51},
    {"vioserial", "vioser.inf", SYSTEM, "VirtioSerial", "1003&SUBSYS_00031AF4", "1043", 3, NULL,
     H2K_DRIVER_OTHER, 51},
    {"viorng", "viorng.inf", SYSTEM, "VirtRng", "1005&SUBSYS_00041AF4", "1044", 3, "Extended Base",
     H2K_DRIVER_OTHER, 60},
    {"viogpudo", "viogpudo.inf", DISPLAY, "VioGpuDod", NULL, "1050", 3, NULL, H2K_DRIVER_OTHER, 62},
    {"vioinput", "vioinput.inf", HID, "VirtioInput", NULL, "1052", 3, NULL, H2K_DRIVER_OTHER, 61},
    {"viofs", "viofs.inf", SYSTEM, "VirtioFsDrv", NULL, "105A", 3, "Extended Base",
     H2K_DRIVER_OTHER, 62},
    {"pvpanic", "pvpanic.inf", SYSTEM, "PVPanic", NULL, NULL, 3, "Extended Base", H2K_DRIVER_OTHER,
     60},
    {"pvpanic", "pvpanic-pci.inf", SYSTEM, "PVPanicPCI", NULL, NULL, 3, "Extended Base",
     H2K_DRIVER_OTHER, 100},
    {"fwcfg", "fwcfg.inf", SYSTEM, "FwCfg", NULL, NULL, 3, NULL, H2K_DRIVER_OTHER, 62},
};

/* --- fixtures --------------------------------------------------------------------------------- */

static char *iso;    /* NULL: xorriso is not installed */
static char *folder; /* the same, unpacked */

G_GNUC_PRINTF (1, 2)
static void
run (const char *format, ...)
{
  g_autofree char *line = NULL;
  va_list args;

  va_start (args, format);
  line = g_strdup_vprintf (format, args);
  va_end (args);
  g_test_message ("%s", line);
  g_assert_cmpint (system (line), ==, 0);
}

static void
make_sources (void)
{
  g_autofree char *maker = g_test_build_filename (G_TEST_DIST, "windows", "make-virtio-win", NULL);
  g_autofree char *xorriso = g_find_program_in_path ("xorriso");
  g_autofree char *top = g_dir_make_tmp ("virtio-win-XXXXXX", NULL);

  folder = g_build_filename (top, "virtio-win-0.1.285", NULL);
  run ("'%s' --folder '%s'", maker, folder);
  if (!xorriso)
    return;
  iso = g_build_filename (top, "virtio-win.iso", NULL);
  run ("'%s' '%s'", maker, iso);
}

/* A copy of the folder's part PATHS (of a shell), which a test may change. */
static char *
copy_of (const char *paths)
{
  char *top = g_dir_make_tmp ("source-XXXXXX", NULL);

  run ("cd '%s' && cp -r --parents %s '%s'", folder, paths, top);
  return top;
}

static H2kDriverSource *
open_source (const char *path)
{
  g_autoptr (GError) error = NULL;
  H2kDriverSource *source = h2k_driver_source_open (path, NULL, &error);

  g_assert_no_error (error);
  return source;
}

static GPtrArray *
new_notes (void)
{
  return g_ptr_array_new_with_free_func (g_free);
}

static GPtrArray *
find (H2kDriverSource *source, const H2kWindowsRelease *release, GPtrArray *notes)
{
  g_autoptr (GError) error = NULL;
  GPtrArray *drivers = h2k_driver_source_find (source, release, notes, &error);

  g_assert_no_error (error);
  return drivers;
}

static const H2kDriver *
get (const GPtrArray *drivers, const char *inf)
{
  for (guint i = 0; i < drivers->len; i++)
    if (g_ascii_strcasecmp (((H2kDriver *)drivers->pdata[i])->inf_name, inf) == 0)
      return drivers->pdata[i];
  return NULL;
}

static gboolean
has_note (const GPtrArray *notes, const char *text)
{
  for (guint i = 0; i < notes->len; i++)
    if (strstr (notes->pdata[i], text))
      return TRUE;
  for (guint i = 0; i < notes->len; i++)
    g_test_message ("note: %s", (char *)notes->pdata[i]);
  return FALSE;
}

/* --- all releases ----------------------------------------------------------------------------- */

static gboolean
has_id (const H2kInf *inf, const char *id)
{
  for (guint i = 0; i < inf->devices->len; i++)
    if (g_strv_contains ((const char *const *)((H2kInfDevice *)inf->devices->pdata[i])->ids, id))
      return TRUE;
  return FALSE;
}

static void
check_ids (const H2kInf *inf, const char *legacy, const char *modern, gboolean old)
{
  g_autofree char *first
      = g_strdup_printf ("PCI\\VEN_1AF4&DEV_%s%s", legacy ? legacy : "", old ? "" : "&REV_00");
  g_autofree char *second = g_strdup_printf ("PCI\\VEN_1AF4&DEV_%s&SUBSYS_11001AF4&REV_01", modern);
  g_autofree char *bare = g_strdup_printf ("PCI\\VEN_1AF4&DEV_%s", modern);

  g_assert_true (!legacy || has_id (inf, first));
  g_assert_true (!modern || old || has_id (inf, second));
  g_assert_true (!modern || old || has_id (inf, bare));
}

static const H2kInfReg *
find_reg (const GPtrArray *list, const char *key, const char *name)
{
  for (guint i = 0; i < list->len; i++)
    {
      const H2kInfReg *reg = list->pdata[i];
      if (strcmp (reg->key, key) == 0 && strcmp (reg->name, name) == 0)
        return reg;
    }
  return NULL;
}

static guint32
dword (const H2kInfReg *reg)
{
  g_assert_nonnull (reg);
  g_assert_cmpuint (reg->type, ==, 4);
  return h2k_le32 (g_bytes_get_data (reg->data, NULL));
}

static void
check_storage (const H2kDriver *driver, const H2kInfService *service, gboolean has_msi)
{
  const H2kInfInstall *install = ((H2kInfDevice *)driver->inf->devices->pdata[0])->install;
  guint32 bus = strcmp (driver->name, "viostor") == 0 ? 1 : 0xa;
  static const char msi[] = "Interrupt Management\\MessageSignaledInterruptProperties";

  g_assert_true (driver->boot);
  g_assert_cmpuint (dword (find_reg (service->reg, "Parameters\\PnpInterface", "5")), ==, 1);
  g_assert_cmpuint (dword (find_reg (service->reg, "Parameters", "BusType")), ==, bus);
  g_assert_cmpstr (service->event_log, ==, "System");
  g_assert_cmpuint (dword (find_reg (service->event_reg, "", "TypesSupported")), ==, 7);
  if (has_msi)
    g_assert_cmpuint (dword (find_reg (install->hw_reg, msi, "MSISupported")), ==, 1);
  g_assert_cmpuint (install->files->len, ==, 1);
}

/* The driver that FACT of the table tells of, for a release whose first number is VERSION. */
static void
check_driver (const H2kDriver *driver, gsize fact, const char *place, guint version)
{
  const H2kInf *inf = driver->inf;
  const H2kInfInstall *install = ((H2kInfDevice *)inf->devices->pdata[0])->install;
  const H2kInfService *service = h2k_inf_function_service (install);
  g_autofree char *where = g_strdup_printf ("%s/%s", facts[fact].name, place);
  gint32 dirid = g_str_has_prefix (place, "w11") || g_str_has_prefix (place, "2k25") ? 13 : 12;
  gboolean old = version < 60 && strcmp (driver->name, "viostor") == 0;
  const H2kInfFile *file = install->files->pdata[0];

  g_assert_cmpstr (driver->name, ==, facts[fact].name);
  g_assert_cmpstr (driver->folder, ==, where);
  g_assert_null (driver->fallback);
  g_assert_cmpint (driver->role, ==, facts[fact].role);
  g_assert_cmpstr (inf->class_guid, ==, facts[fact].class_guid);
  g_assert_cmpstr (inf->provider.text, ==, "Red Hat, Inc.");
  g_assert_cmpuint (inf->year, ==, 2025);
  g_assert_cmpuint (inf->warnings->len, ==, 0);
  g_assert_cmpstr (service->name, ==, facts[fact].service);
  g_assert_cmpuint (service->type, ==, 1);
  g_assert_cmpuint (service->start, ==, facts[fact].start);
  g_assert_cmpuint (service->error_control, ==, 1);
  g_assert_cmpstr (service->group, ==, facts[fact].group);
  g_assert_cmpint (service->binary_dirid, ==, dirid);
  g_assert_cmpstr (service->binary, ==, file->target);
  g_assert_cmpint (file->dirid, ==, dirid);
  check_ids (inf, facts[fact].legacy, facts[fact].modern, old);
  if (facts[fact].role == H2K_DRIVER_STORAGE)
    check_storage (driver, service, version >= 60);
}

static void
check_files (const H2kDriver *driver)
{
  g_autofree char *catalog = g_strdup (driver->inf->catalog);

  g_assert_cmpstr (((H2kDriverFile *)driver->files->pdata[0])->name, ==, driver->inf_name);
  g_assert_nonnull (h2k_driver_find_file (driver, catalog));
  for (guint i = 0; i < driver->inf->files->len; i++)
    g_assert_nonnull (h2k_driver_find_file (driver, driver->inf->files->pdata[i]));
  for (guint i = 0; i < driver->files->len; i++)
    {
      const H2kDriverFile *file = driver->files->pdata[i];
      g_autoptr (GError) error = NULL;
      g_autoptr (GBytes) bytes = h2k_driver_file_read (file, &error);
      g_assert_no_error (error);
      g_assert_cmpuint (g_bytes_get_size (bytes), ==, file->size);
      g_assert_false (g_str_has_suffix (file->name, ".pdb"));
    }
}

static void
check_release (H2kDriverSource *source, gsize i)
{
  const H2kWindowsRelease *release = &releases[i].release;
  g_autoptr (GPtrArray) notes = new_notes ();
  g_autoptr (GPtrArray) drivers = find (source, release, notes);
  guint version = release->major * 10 + release->minor;

  g_test_message ("%s: %u drivers", releases[i].folder, drivers->len);
  for (gsize fact = 0; fact < G_N_ELEMENTS (facts); fact++)
    {
      const H2kDriver *driver = get (drivers, facts[fact].inf);
      g_assert_true ((driver != NULL) == (version >= facts[fact].since));
      if (driver)
        check_driver (driver, fact, releases[i].folder, version);
    }
  for (guint d = 0; d < drivers->len; d++)
    check_files (drivers->pdata[d]);
  /* Two drivers are not there for newer releases. */
  for (guint n = 0; n < notes->len; n++)
    g_assert_true (g_str_has_prefix (notes->pdata[n], "qxldod: qxldod/")
                   || g_str_has_prefix (notes->pdata[n], "smbus: smbus/2k8/"));
}

static void
test_all_releases (gconstpointer data)
{
  const char *path = *(char *const *)data;
  g_autoptr (H2kDriverSource) source = path ? open_source (path) : NULL;

  if (!source)
    {
      g_test_skip ("xorriso is not installed");
      return;
    }
  for (gsize i = 0; i < G_N_ELEMENTS (releases); i++)
    check_release (source, i);
}

static void
test_extras (void)
{
  g_autoptr (H2kDriverSource) source = open_source (folder);
  g_autoptr (GPtrArray) seven = find (source, &releases[8].release, NULL);
  g_autoptr (GPtrArray) ten = find (source, &releases[15].release, NULL);
  const H2kDriver *input = get (seven, "vioinput.inf");

  /* The framework's co-installers, and programs that no INF names. */
  g_assert_nonnull (h2k_driver_find_file (get (seven, "vioser.inf"), "WdfCoInstaller01009.dll"));
  g_assert_null (h2k_driver_find_file (get (ten, "vioser.inf"), "WdfCoInstaller01011.dll"));
  g_assert_nonnull (h2k_driver_find_file (get (seven, "netkvm.inf"), "NETKVMCO.DLL"));
  g_assert_nonnull (h2k_driver_find_file (get (ten, "netkvm.inf"), "netkvmp.exe"));
  g_assert_nonnull (h2k_driver_find_file (get (ten, "balloon.inf"), "blnsvr.exe"));
  g_assert_cmpuint (input->inf->installs->len, ==, 2);
  g_assert_nonnull (h2k_driver_find_file (input, "viohidkmdf.sys"));
  /* Devices without a driver. */
  g_assert_null (h2k_inf_function_service (
      ((H2kInfDevice *)get (ten, "qemupciserial.inf")->inf->devices->pdata[0])->install));
}

/* --- sources ---------------------------------------------------------------------------------- */

static void
test_describe (void)
{
  g_autoptr (H2kDriverSource) source = open_source (folder);
  g_autoptr (H2kDriverFile) agent = h2k_driver_source_guest_agent (source, AMD);
  g_autoptr (H2kDriverFile) old = h2k_driver_source_guest_agent (source, X86);

  g_assert_cmpstr (agent->name, ==, "qemu-ga-x86_64.msi");
  g_assert_cmpstr (old->name, ==, "qemu-ga-i386.msi");
  g_assert_null (h2k_driver_source_guest_agent (source, ARM));
  g_assert_null (h2k_driver_source_path (source));
  g_assert_null (h2k_driver_source_label (source));
  g_assert_cmpstr (h2k_driver_source_version (source), ==, "0.1.285");
  if (!iso)
    return;
  g_autoptr (H2kDriverSource) image = open_source (iso);
  g_autofree char *text = g_strdup_printf ("virtio-win-0.1.285 (%s)", iso);
  g_assert_cmpstr (h2k_driver_source_describe (image), ==, text);
  g_assert_cmpstr (h2k_driver_source_label (image), ==, "virtio-win-0.1.285");
  g_assert_cmpstr (h2k_driver_source_version (image), ==, "0.1.285");
  g_assert_cmpstr (h2k_driver_source_path (image), ==, iso);
}

/* Bytes that this process has read. */
static guint64
bytes_read (void)
{
  g_autofree char *text = NULL;

  if (!g_file_get_contents ("/proc/self/io", &text, NULL, NULL))
    return 0;
  return g_ascii_strtoull (text + strlen ("rchar: "), NULL, 10);
}

/* What is read of an ISO does not grow with it: the folders, then INF files and drivers. */
static void
test_reads_little (void)
{
  g_autoptr (H2kDriverSource) source = NULL;
  g_autoptr (GPtrArray) drivers = NULL;
  guint64 start = bytes_read (), opened, found;

  if (!iso || start == 0)
    {
      g_test_skip (iso ? "this kernel counts no reads" : "xorriso is not installed");
      return;
    }
  source = open_source (iso);
  opened = bytes_read ();
  drivers = find (source, &releases[19].release, NULL);
  found = bytes_read ();
  g_test_message ("%" G_GUINT64_FORMAT " bytes to open, %" G_GUINT64_FORMAT " to find",
                  opened - start, found - opened);
  g_assert_cmpuint (opened - start, <, 2 << 20);
  g_assert_cmpuint (found - opened, <, 256 << 10);
}

static void
test_layouts (void)
{
  static const struct
  {
    const char *make; /* of a shell, in an empty folder, with $S the source */
    const char *found;
  } cases[] = {
      /* Windows' setup looks for these. */
      {"mkdir -p amd64 && cp -r $S/amd64/2k22 amd64", "amd64/2k22"},
      /* As the package installs them, in its present and its older form. */
      {"mkdir -p drivers/by-driver && cp -r $S/viostor $S/NetKVM drivers/by-driver",
       "drivers/by-driver/viostor/2k22/amd64"},
      {"mkdir -p drivers/by-os/amd64/2k22 && cp $S/*/2k22/amd64/* drivers/by-os/amd64/2k22",
       "drivers/by-os/amd64/2k22"},
      {"mkdir -p drivers/amd64/Win2022 && cp $S/viostor/2k22/amd64/* $S/NetKVM/2k22/amd64/* "
       "drivers/amd64/Win2022",
       "drivers/amd64/Win2022"},
      /* Copied by something that writes names in capitals. */
      {"mkdir -p VIOSTOR/2K22/AMD64 && for f in $S/viostor/2k22/amd64/*; do cp $f "
       "VIOSTOR/2K22/AMD64/"
       "$(basename $f | tr a-z A-Z); done",
       "VIOSTOR/2K22/AMD64"},
      {"mkdir -p viostor/2k22 && cp -r $S/viostor/2k22/amd64 viostor/2k22/x64", "viostor/2k22/x64"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *top = g_dir_make_tmp ("layout-XXXXXX", NULL);
      g_autoptr (H2kDriverSource) source = NULL;
      g_autoptr (GPtrArray) drivers = NULL, notes = new_notes ();
      const H2kDriver *viostor;

      run ("S='%s' && cd '%s' && %s", folder, top, cases[i].make);
      source = open_source (top);
      drivers = find (source, &releases[19].release, notes);
      viostor = get (drivers, "viostor.inf");
      g_assert_cmpstr (viostor->folder, ==, cases[i].found);
      g_assert_null (viostor->fallback);
      /* Of a folder that drivers share nothing but the driver's own files. */
      g_assert_cmpuint (viostor->files->len, ==, 3);
      g_assert_cmpstr (viostor->os, ==, "2k22");
    }
}

/* The built-in configuration with FROM once replaced by TO. */
static char *
spoiled (const char *from, const char *to)
{
  g_autoptr (GBytes) json = h2k_virtio_win_json ();
  g_autofree char *text = g_strndup (g_bytes_get_data (json, NULL), g_bytes_get_size (json));
  char *at = strstr (text, from);

  g_assert_nonnull (at);
  *at = '\0';
  return g_strconcat (text, to, at + strlen (from), NULL);
}

/* The package of this host is found where the configuration says. */
static void
test_installed (void)
{
  g_autofree char *top = g_dir_make_tmp ("installed-XXXXXX", NULL);
  g_autofree char *config = g_build_filename (top, "virtio-win.json", NULL);
  g_autofree char *link = g_build_filename (top, "virtio-win.iso", NULL);
  g_autofree char *places = g_strdup_printf ("%s\", \"%s", link, folder);
  g_autofree char *text = spoiled ("/usr/share/virtio-win/virtio-win.iso", places);
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kDriverSource) first = NULL, second = NULL;

  g_assert_true (g_file_set_contents (config, text, -1, NULL));
  /* A link that leads nowhere is what a package that was removed leaves. */
  g_assert_cmpint (symlink ("virtio-win-0.1.1.iso", link), ==, 0);
  first = h2k_driver_source_open (NULL, config, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (h2k_driver_source_describe (first), ==, folder);
  if (!iso)
    return;
  unlink (link);
  g_assert_cmpint (symlink (iso, link), ==, 0);
  second = h2k_driver_source_open (NULL, config, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (h2k_driver_source_path (second), ==, link);
}

static void
test_not_a_source (void)
{
  g_autofree char *empty = g_dir_make_tmp ("empty-XXXXXX", NULL);
  g_autofree char *file = g_build_filename (empty, "file.iso", NULL);
  g_autofree char *none = g_build_filename (empty, "none.iso", NULL);
  g_autofree char *config = g_build_filename (empty, "config.json", NULL);
  static const char nothing[]
      = "{\"format\":1,\"installed\":[\"/nowhere/virtio-win.iso\"],\"roots\":[\"\"],"
        "\"architectures\":{\"x86\":[\"x86\"],\"amd64\":[\"amd64\"],\"arm64\":[\"arm64\"]},"
        "\"folders\":{},\"releases\":[],\"drivers\":[],\"guest-agent\":{}}";
  const struct
  {
    const char *path, *config;
    H2kError code;
    const char *says;
  } cases[] = {
      {none, NULL, H2K_ERROR_SOURCE, "none.iso"},
      {file, NULL, H2K_ERROR_FORMAT, "is not an ISO image"},
      {empty, NULL, H2K_ERROR_UNSUPPORTED, "has no virtio drivers"},
      {NULL, config, H2K_ERROR_SOURCE, "none of /nowhere/virtio-win.iso"},
      {empty, none, H2K_ERROR_USAGE, "none.iso"},
  };

  g_assert_true (g_file_set_contents (file, "text", -1, NULL));
  g_assert_true (g_file_set_contents (config, nothing, -1, NULL));
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (GError) error = NULL;
      g_assert_null (h2k_driver_source_open (cases[i].path, cases[i].config, &error));
      g_test_message ("%s", error->message);
      g_assert_error (error, H2K_ERROR, (int)cases[i].code);
      g_assert_nonnull (strstr (error->message, cases[i].says));
    }
}

/* --- what does not fit ------------------------------------------------------------------------ */

static void
test_fallbacks (void)
{
  static const struct
  {
    const char *has; /* the folders that the source has, of a shell */
    gsize release;
    const char *folder;
    const char *reason;
  } cases[] = {
      {"viostor/w10", 19, "viostor/w10/amd64", "there is none for 2k22"},
      {"viostor/w10 viostor/2k16", 18, "viostor/2k16/amd64", "there is none for 2k19"},
      {"viostor/2k19 viostor/w10", 19, "viostor/2k19/amd64", "there is none for 2k22"},
      {"viostor/w10", 20, "viostor/w10/amd64", "there is none for w11"},
      {"viostor/w11 viostor/2k22", 23, "viostor/w11/amd64", "there is none for 2k25"},
      {"viostor/2k22", 23, "viostor/2k22/amd64", "there is none for 2k25"},
      {"viostor/w7", 9, "viostor/w7/amd64", "there is none for 2k8R2"},
      {"viostor/w8", 13, "viostor/w8/amd64", "there is none for 2k12R2"},
      /* The folder is there, for another processor. */
      {"viostor/w10/x86 viostor/2k19", 15, "viostor/2k19/amd64", "there is none for w10"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *top = copy_of (cases[i].has);
      g_autoptr (H2kDriverSource) source = open_source (top);
      g_autoptr (GPtrArray) notes = new_notes ();
      g_autoptr (GPtrArray) drivers = find (source, &releases[cases[i].release].release, notes);
      const H2kDriver *driver = get (drivers, "viostor.inf");

      g_assert_cmpstr (driver->folder, ==, cases[i].folder);
      g_assert_cmpstr (driver->fallback, ==, cases[i].reason);
      g_assert_true (has_note (notes, driver->folder));
      g_assert_true (has_note (notes, "NetKVM: the source has none"));
    }
}

/* Server 2025 on arm64 has no folder of its own: Windows 11's serves it. */
static void
test_arm_server (void)
{
  g_autoptr (H2kDriverSource) source = open_source (folder);
  const H2kWindowsRelease release = {10, 0, 26100, SERVER, ARM};
  g_autoptr (GPtrArray) drivers = find (source, &release, NULL);

  g_assert_cmpstr (get (drivers, "viostor.inf")->folder, ==, "viostor/w11/ARM64");
  g_assert_nonnull (get (drivers, "viostor.inf")->fallback);
}

static void
test_passed_over (void)
{
  static const struct
  {
    const char *spoil; /* of a shell, in a source with viostor/2k22 and viostor/2k19 */
    const char *reason;
  } cases[] = {
      /* An INF for later builds alone. */
      {"cp $S/viostor/w11/amd64/viostor.inf viostor/2k22/amd64", "it has no devices for Windows"},
      /* Other processors' files. */
      {"cp $S/viostor/w10/x86/viostor.sys viostor/2k22/amd64", "is for x86, the guest for amd64"},
      {"cp $S/viostor/w10/x86/viostor.inf viostor/2k22/amd64", "it has no devices for Windows"},
      {"cp $S/Balloon/2k22/amd64/blnsvr.exe viostor/2k22/amd64/viostor.sys", "is a program"},
      {"rm viostor/2k22/amd64/viostor.sys", "viostor.sys, which its INF copies, is missing"},
      {"echo x >viostor/2k22/amd64/viostor.sys", "not a program or driver of Windows"},
      {"echo x >viostor/2k22/amd64/viostor.inf", "line 1"},
      {"sed -i 's/^AddService/; &/' viostor/2k22/amd64/viostor.inf", "installs no driver service"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *top = copy_of ("viostor/2k22 viostor/2k19");
      g_autoptr (H2kDriverSource) source = NULL;
      g_autoptr (GPtrArray) notes = new_notes (), drivers = NULL;
      const H2kDriver *driver;

      run ("S='%s' && cd '%s' && %s", folder, top, cases[i].spoil);
      source = open_source (top);
      drivers = find (source, &releases[19].release, notes);
      driver = get (drivers, "viostor.inf");
      g_assert_cmpstr (driver->folder, ==, "viostor/2k19/amd64");
      g_assert_nonnull (strstr (driver->fallback, "viostor/2k22/amd64 does not fit: "));
      g_assert_nonnull (strstr (driver->fallback, cases[i].reason));
      g_assert_true (has_note (notes, "viostor/2k22/amd64 is passed over: "));
    }
}

static void
test_nothing_fits (void)
{
  g_autofree char *top = copy_of ("viostor/w10 viostor/w11 vioscsi/2k12 NetKVM/w7");
  g_autoptr (H2kDriverSource) source = open_source (top);
  g_autoptr (GError) error = NULL, unknown = NULL;
  const H2kWindowsRelease future = {11, 0, 30000, CLIENT, AMD};

  g_assert_null (h2k_driver_source_find (source, &releases[8].release, NULL, &error));
  g_test_message ("%s", error->message);
  g_assert_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED);
  g_assert_nonnull (strstr (error->message,
                            "no storage driver for Windows 7 (Windows 6.1 build 7601, "
                            "client, amd64); it has them for 2k12 (amd64), w10 (amd64, "
                            "arm64, x86), w11 (amd64, arm64)"));
  g_assert_null (h2k_driver_source_find (source, &future, NULL, &unknown));
  g_test_message ("%s", unknown->message);
  g_assert_error (unknown, H2K_ERROR, H2K_ERROR_UNSUPPORTED);
  g_assert_nonnull (
      strstr (unknown->message, "for Windows 11.0 build 30000, client, amd64; it has"));
}

/* The INF counts, and it is said where it differs. */
static void
test_inf_counts (void)
{
  g_autofree char *top = copy_of ("viostor/w10 vioscsi/w10");
  g_autoptr (H2kDriverSource) source = NULL;
  g_autoptr (GPtrArray) notes = new_notes (), drivers = NULL;
  const H2kDriver *driver;

  run ("cd '%s' && sed -i -e 's/AddService = viostor/AddService = other/' -e '/DEV_1042/d' "
       "-e 's/%%SERVICE_BOOT_START%%/3/' -e 's/4D36E97B/4D36E97C/' viostor/w10/amd64/viostor.inf",
       top);
  source = open_source (top);
  drivers = find (source, &releases[15].release, notes);
  driver = get (drivers, "viostor.inf");
  g_assert_cmpstr (h2k_inf_function_service (driver->inf->installs->pdata[0])->name, ==, "other");
  g_assert_true (has_note (notes, "the service of viostor/w10/amd64/viostor.inf is other, where "
                                  "viostor is expected; the INF counts"));
  g_assert_true (has_note (notes, "has no device PCI\\VEN_1AF4&DEV_1042"));
  g_assert_true (has_note (notes, "does not start other at boot (StartType 3)"));
  g_assert_true (has_note (notes, "the class of viostor/w10/amd64/viostor.inf is {4D36E97C-"));
}

/* --- the configuration ------------------------------------------------------------------------ */

static void
test_config (void)
{
  g_autofree char *top = copy_of ("viostor/w10");
  g_autofree char *path = g_build_filename (top, "config.json", NULL);
  g_autoptr (H2kDriverSource) source = NULL;
  g_autoptr (GPtrArray) drivers = NULL;
  g_autoptr (GError) error = NULL;
  static const char text[]
      = "{\"format\":1,\"installed\":[],\"roots\":[\"mine\"],"
        "\"architectures\":{\"x86\":[\"32\"],\"amd64\":[\"64\"],\"arm64\":[\"a\"]},"
        "\"folders\":{\"ten\":[\"Windows "
        "10\"]},\"releases\":[{\"name\":\"Ten\",\"version\":\"10.0\","
        "\"kind\":\"client\",\"folders\":[\"ten\"]}],\"drivers\":[{\"name\":\"disk\",\"folders\":"
        "[\"block\"],\"infs\":[\"viostor.inf\"],\"role\":\"storage\",\"boot\":true,\"services\":"
        "[\"viostor\"],\"devices\":[]}],\"guest-agent\":{\"amd64\":[\"mine/agent.msi\"]}}";

  run ("cd '%s' && mkdir -p 'mine/block/Windows 10' && mv viostor/w10/amd64 'mine/block/Windows "
       "10/64' "
       "&& echo x >mine/agent.msi",
       top);
  g_assert_true (g_file_set_contents (path, text, -1, NULL));
  source = h2k_driver_source_open (top, path, &error);
  g_assert_no_error (error);
  drivers = find (source, &releases[15].release, NULL);
  g_assert_cmpuint (drivers->len, ==, 1);
  g_assert_cmpstr (((H2kDriver *)drivers->pdata[0])->name, ==, "disk");
  g_assert_cmpstr (((H2kDriver *)drivers->pdata[0])->folder, ==, "mine/block/Windows 10/64");
  h2k_driver_file_free (h2k_driver_source_guest_agent (source, AMD));
}

static void
test_bad_config (void)
{
  static const struct
  {
    const char *from, *to;
    const char *says;
  } cases[] = {
      {"{", "[", "this is no JSON"},
      {"\"format\": 1", "\"format\": 2", "format: 1 is expected"},
      {"\"roots\": [\"\"", "\"roots\": [7", "roots[0]: a text is expected"},
      {"\"drivers/by-os\"", "\"../by-os\"", "roots[2]: it leaves the source"},
      {"\"amd64\": [", "\"amd65\": [", "architectures.amd65: it is not known"},
      {"\"arm64\": [\"ARM64\", \"aarch64\"]", "\"arm64\": []", "architectures.arm64: it is empty"},
      {"\"xp\": [\"WinXP\"", "\"xp\": \"WinXP\", \"y\": [\"z\"",
       "folders.xp: an array [ ] is expected"},
      {"\"version\": \"5.1\"", "\"version\": \"five\"", "releases[0].version: a version such as"},
      {"\"kind\": \"client\"", "\"kind\": \"desktop\"",
       "releases[0].kind: one of \"client\", \"server\" is expected"},
      {"[10240, 21999]", "[21999, 10240]", "releases[11].builds: two numbers"},
      {"[10240, 21999]", "[10240]", "releases[11].builds: two numbers"},
      {"\"role\": \"network\"", "\"role\": \"net\"",
       "drivers[2].role: one of \"storage\", \"network\", \"other\" is expected"},
      {"\"infs\": [\"netkvm.inf\"], ", "", "drivers[2].infs: it is missing"},
      {"\"boot\": false", "\"boot\": 0", "drivers[2].boot: true or false"},
      {"{\"id\": \"PCI\\\\VEN_1AF4&DEV_1000\"}", "{\"id\": 5}", "drivers[2].devices[0].id: a text"},
      {"\"folders\": [\"Balloon\"]", "\"folder\": [\"Balloon\"]",
       "drivers[3].folder: it is not known; there are name, folders, infs"},
  };
  g_autofree char *top = g_dir_make_tmp ("config-XXXXXX", NULL);
  g_autofree char *path = g_build_filename (top, "config.json", NULL);

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *text = spoiled (cases[i].from, cases[i].to);
      g_autoptr (GError) error = NULL;

      g_assert_true (g_file_set_contents (path, text, -1, NULL));
      g_assert_null (h2k_driver_source_open (folder, path, &error));
      g_test_message ("%s", error->message);
      g_assert_error (error, H2K_ERROR, H2K_ERROR_USAGE);
      g_assert_true (g_str_has_prefix (error->message, path));
      g_assert_nonnull (strstr (error->message, cases[i].says));
    }
}

int
main (int argc, char **argv)
{
  int status;

  g_test_init (&argc, &argv, NULL);
  make_sources ();
  g_test_add_data_func ("/virtio-win/every release from a folder", &folder, test_all_releases);
  g_test_add_data_func ("/virtio-win/every release from an ISO", &iso, test_all_releases);
  g_test_add_func ("/virtio-win/co-installers, programs, devices without driver", test_extras);
  g_test_add_func ("/virtio-win/label, version, guest agent", test_describe);
  g_test_add_func ("/virtio-win/little is read of an ISO", test_reads_little);
  g_test_add_func ("/virtio-win/layouts", test_layouts);
  g_test_add_func ("/virtio-win/the installed package", test_installed);
  g_test_add_func ("/virtio-win/what is no source is told apart", test_not_a_source);
  g_test_add_func ("/virtio-win/the nearest release that fits", test_fallbacks);
  g_test_add_func ("/virtio-win/a server on arm64", test_arm_server);
  g_test_add_func ("/virtio-win/what does not fit is passed over", test_passed_over);
  g_test_add_func ("/virtio-win/nothing fits: it is said what there is", test_nothing_fits);
  g_test_add_func ("/virtio-win/the INF counts, not the facts", test_inf_counts);
  g_test_add_func ("/virtio-win/a configuration of one's own", test_config);
  g_test_add_func ("/virtio-win/a wrong configuration is refused with the place", test_bad_config);
  status = g_test_run ();
  g_free (iso);
  g_free (folder);
  return status;
}
