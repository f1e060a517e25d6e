/* test-inf.c - INF files say here what they say to Windows, and damaged ones say nothing.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "drivers/inf.h"

#define VERSION                                                                                    \
  "[Version]\nSignature = \"$Windows NT$\"\nClass=SCSIAdapter\n"                                   \
  "ClassGuid={4d36e97b-e325-11ce-bfc1-08002be10318}\nProvider=%V%\n"                               \
  "DriverVer=07/09/2025,100.95.104.27100\nCatalogFile=x.cat\n"
#define STRINGS "[Strings]\nV=\"Maker, Inc.\"\nD=\"A device\"\n"
#define MODELS "[Manufacturer]\n%V%=M,NTamd64\n[M.NTamd64]\n%D%=inst,PCI\\VEN_1AF4&DEV_1001\n"
#define BASE VERSION MODELS STRINGS
#define SERVICE                                                                                    \
  "[inst.Services]\nAddService=svc,2,svc_inst\n[svc_inst]\nServiceType=1\nStartType=0\n"           \
  "ErrorControl=1\nServiceBinary=%12%\\x.sys\n"

static const H2kWindowsRelease server_2022 = {10, 0, 20348, H2K_WINDOWS_SERVER, H2K_WINDOWS_AMD64};
static const H2kWindowsRelease xp = {5, 1, 2600, H2K_WINDOWS_CLIENT, H2K_WINDOWS_X86};

static H2kInf *
parse_for (const char *text, const H2kWindowsRelease *target)
{
  g_autoptr (GError) error = NULL;
  H2kInf *inf = h2k_inf_parse (text, strlen (text), "x.inf", target, &error);

  g_assert_no_error (error);
  return inf;
}

static H2kInf *
parse (const char *text)
{
  return parse_for (text, &server_2022);
}

static const H2kInfDevice *
device (const H2kInf *inf, guint i)
{
  g_assert_cmpuint (i, <, inf->devices->len);
  return inf->devices->pdata[i];
}

static const H2kInfInstall *
install (const H2kInf *inf)
{
  return device (inf, 0)->install;
}

static const H2kInfReg *
reg (const GPtrArray *list, guint i)
{
  g_assert_cmpuint (i, <, list->len);
  return list->pdata[i];
}

/* --- the text --------------------------------------------------------------------------------- */

static void
test_version (void)
{
  g_autoptr (H2kInf) inf = parse (BASE "[inst]\n");

  g_assert_cmpstr (inf->class_name, ==, "SCSIAdapter");
  g_assert_cmpstr (inf->class_guid, ==, "{4D36E97B-E325-11CE-BFC1-08002BE10318}");
  g_assert_cmpstr (inf->provider.token, ==, "%V%");
  g_assert_cmpstr (inf->provider.text, ==, "Maker, Inc.");
  g_assert_cmpuint (inf->year, ==, 2025);
  g_assert_cmpuint (inf->month, ==, 7);
  g_assert_cmpuint (inf->day, ==, 9);
  g_assert_cmpuint (inf->version[0], ==, 100);
  g_assert_cmpuint (inf->version[3], ==, 27100);
  g_assert_cmpstr (inf->catalog, ==, "x.cat");
  g_assert_cmpstr (inf->models, ==, "NTamd64");
  g_assert_false (inf->pnp_lockdown);
  g_assert_cmpuint (inf->warnings->len, ==, 0);
  g_assert_cmpstr (device (inf, 0)->description.token, ==, "%D%");
  g_assert_cmpstr (device (inf, 0)->description.text, ==, "A device");
  g_assert_cmpstr (device (inf, 0)->manufacturer.text, ==, "Maker, Inc.");
  g_assert_cmpstr (device (inf, 0)->ids[0], ==, "PCI\\VEN_1AF4&DEV_1001");
}

static void
test_version_oddities (void)
{
  g_autoptr (H2kInf) inf = parse (
      "[VERSION]\r\nsignature=\"$CHICAGO$\"\r\nDriverVer = 13/45/2025 , 1.2\r\nPnpLockdown=1\r\n"
      "CatalogFile=a.cat\r\nCatalogFile.NTamd64 = b.cat\r\nCatalogFile.NTx86=c.cat\r\n" MODELS
          STRINGS "[inst]");

  g_assert_cmpuint (inf->year, ==, 0);
  g_assert_cmpuint (inf->version[0], ==, 1);
  g_assert_cmpuint (inf->version[1], ==, 2);
  g_assert_cmpuint (inf->version[2], ==, 0);
  g_assert_cmpstr (inf->catalog, ==, "b.cat");
  g_assert_true (inf->pnp_lockdown);
  g_assert_cmpuint (inf->warnings->len, ==, 1);
  g_assert_cmpstr (inf->class_guid, ==, "");
}

static void
test_encodings (void)
{
  static const char text[]
      = VERSION MODELS "[inst]\n[Strings]\nV=M\xc3\xbcller \xe2\x82\xac\nD=d\n";
  static const char ansi[] = VERSION MODELS "[inst]\n[Strings]\nV=M\xfcller \x80\nD=d\n";
  g_autoptr (GByteArray) utf16 = g_byte_array_new ();
  glong units = 0;
  g_autofree gunichar2 *wide = g_utf8_to_utf16 (text, -1, NULL, &units, NULL);
  g_autofree char *with_bom = g_strconcat ("\xef\xbb\xbf", text, "\x1a", NULL);
  g_autoptr (GError) error = NULL;
  const struct
  {
    const void *data;
    gsize size;
  } cases[] = {{text, strlen (text)}, {ansi, strlen (ansi)}, {with_bom, strlen (with_bom)}};

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (H2kInf) inf
          = h2k_inf_parse (cases[i].data, cases[i].size, "x.inf", &server_2022, &error);
      g_assert_no_error (error);
      g_assert_cmpstr (inf->provider.text, ==, "M\xc3\xbcller \xe2\x82\xac");
    }
  for (int big = 0; big < 2; big++)
    {
      g_autoptr (H2kInf) inf = NULL;
      g_byte_array_set_size (utf16, 0);
      for (glong i = -1; i < units; i++)
        {
          guint16 unit = i < 0 ? 0xfeff : wide[i];
          unit = big ? GUINT16_TO_BE (unit) : GUINT16_TO_LE (unit);
          g_byte_array_append (utf16, (const guint8 *)&unit, 2);
        }
      inf = h2k_inf_parse (utf16->data, utf16->len, "x.inf", &server_2022, &error);
      g_assert_no_error (error);
      g_assert_cmpstr (inf->provider.text, ==, "M\xc3\xbcller \xe2\x82\xac");
    }
}

/* All values of one AddReg section, as texts. */
static void
assert_values (const char *lines, const char *const *expected)
{
  g_autofree char *text = g_strconcat (BASE "[inst]\nAddReg=r\n[r]\n", lines, NULL);
  g_autoptr (H2kInf) inf = parse (text);
  guint i = 0;

  for (; expected[i]; i++)
    {
      const H2kInfReg *one = reg (install (inf)->reg, i);
      g_autofree char *value
          = g_utf16_to_utf8 (g_bytes_get_data (one->data, NULL), -1, NULL, NULL, NULL);
      g_assert_cmpstr (value, ==, expected[i]);
    }
  g_assert_cmpuint (install (inf)->reg->len, ==, i);
}

static void
test_quotes_comments_continuation (void)
{
  assert_values ("HKR,,a,,plain text ; comment, with a comma\n"
                 "HKR,,a,,\"semicolon ; and, comma\" ; comment\n"
                 "; HKR,,a,,no\n"
                 "HKR,,a,,\"Display an \"\"example\"\" string\"\n"
                 "HKR,,a,, \\\n   \"next line\"\n"
                 "HKR,,a,,\"dir\\\"\\ ; a comment here, too\n file\n"
                 "HKR,,a,,\"  kept  \"\n"
                 "HKR,,a,,C:\\dir\\file\n"
                 "HKR,,a,,\"not closed\n"
                 "HKR,,a,,\"key=value\"\n"
                 "HKR,,a,,two \"parts\"\n",
                 (const char *const[]){"plain text", "semicolon ; and, comma",
                                       "Display an \"example\" string", "next line", "dir\\file",
                                       "  kept  ", "C:\\dir\\file", "not closed", "key=value",
                                       "two parts", NULL});
}

static void
test_string_keys (void)
{
  assert_values ("HKR,,a,,%v%\n"
                 "HKR,,a,,\"%V% and %D%.\"\n"
                 "HKR,,a,,\"%%SystemRoot%%\\System32\\IoLogMsg.dll\"\n"
                 "HKR,,a,,%unknown%\n"
                 "HKR,,a,,%11%\\x.dll\n"
                 "HKR,,a,,100%\n",
                 (const char *const[]){"Maker, Inc.", "Maker, Inc. and A device.",
                                       "%SystemRoot%\\System32\\IoLogMsg.dll", "%unknown%",
                                       "%11%\\x.dll", "100%", NULL});
}

static void
test_languages (void)
{
  static const struct
  {
    const char *sections;
    const char *provider;
  } cases[] = {
      {"[Strings]\nV=base\n[Strings.0407]\nV=german\n[Strings.0409]\nV=us\n[Strings.0009]\nV=en\n",
       "us"},
      {"[Strings.0809]\nV=british\n[Strings.0009]\nV=english\n[Strings]\nV=base\n", "english"},
      {"[Strings.0809]\nV=british\n[Strings]\nV=base\n", "british"},
      {"[Strings.0407]\nV=german\n[Strings]\nV=base\n", "base"},
      {"[Strings.0409]\nD=d\n[Strings]\nV=base\n", "base"},
      {"[Strings]\nV=first\n[Strings]\nV=second\n", "first"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *text = g_strconcat (VERSION MODELS "[inst]\n", cases[i].sections, NULL);
      g_autoptr (H2kInf) inf = parse (text);
      g_assert_cmpstr (inf->provider.text, ==, cases[i].provider);
    }
}

static void
test_sections_merge (void)
{
  g_autoptr (H2kInf) inf
      = parse (BASE "[inst]\nAddReg=r\n[R]\nHKR,,a,,1\n[other]\n[ r ]\nHKR,,b,,2\n");

  g_assert_cmpuint (install (inf)->reg->len, ==, 2);
  g_assert_cmpstr (reg (install (inf)->reg, 1)->name, ==, "b");
}

/* --- decorations ------------------------------------------------------------------------------ */

/* Which Models section is chosen of those that DECORATIONS name, and of the undecorated one when
 * PLAIN: its decoration; NULL: none. */
static char *
choose (const char *decorations, gboolean plain, H2kWindowsRelease target)
{
  g_auto (GStrv) list = g_strsplit (decorations, ",", -1);
  g_autoptr (GString) text = g_string_new (VERSION STRINGS "[inst]\n[Manufacturer]\n%V%=M");
  g_autoptr (H2kInf) inf = NULL;
  g_autoptr (GError) error = NULL;

  for (char **one = list; *one; one++)
    g_string_append_printf (text, ",%s", *one);
  g_string_append (text, plain ? "\n[M]\n%D%=inst,x\n" : "\n");
  for (char **one = list; *one; one++)
    g_string_append_printf (text, "[M.%s]\n%%D%%=inst,x\n", g_strstrip (*one));
  inf = h2k_inf_parse (text->str, text->len, "x.inf", &target, &error);
  if (inf)
    return g_strdup (inf->models);
  g_assert_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED);
  return NULL;
}

#define X86 H2K_WINDOWS_X86
#define AMD H2K_WINDOWS_AMD64
#define ARM H2K_WINDOWS_ARM64
#define CLIENT H2K_WINDOWS_CLIENT
#define SERVER H2K_WINDOWS_SERVER
#define DC H2K_WINDOWS_DOMAIN_CONTROLLER

static void
test_models (void)
{
  static const struct
  {
    const char *decorations;
    gboolean plain;
    H2kWindowsRelease target;
    const char *chosen;
  } cases[] = {
      /* The documentation's examples. */
      {"NT,NT.5,NT.5.5,NT....0x80", FALSE, {5, 1, 2600, CLIENT, X86}, "NT.5"},
      {"NT.7.8,NT", FALSE, {5, 1, 2600, CLIENT, X86}, "NT"},
      {"NTx86.5.1", TRUE, {5, 1, 2600, CLIENT, X86}, "NTx86.5.1"},
      {"NTx86.5.1", TRUE, {5, 0, 2195, CLIENT, X86}, ""},
      {"NTx86....0x80,NTamd64", FALSE, {5, 2, 3790, SERVER, AMD}, "NTamd64"},
      {"NTamd64.10.0...14393", FALSE, {10, 0, 14393, CLIENT, AMD}, "NTamd64.10.0...14393"},
      {"NTamd64.10.0...14393", FALSE, {10, 0, 10586, CLIENT, AMD}, NULL},
      /* What drivers have. */
      {"NTx86,NTAMD64", FALSE, {6, 1, 7601, CLIENT, AMD}, "NTAMD64"},
      {"NTx86,NTamd64", FALSE, {10, 0, 22631, CLIENT, ARM}, NULL},
      {"NTARM64.10.0,NTamd64.10.0", FALSE, {10, 0, 22631, CLIENT, ARM}, "NTARM64.10.0"},
      {"NTamd64.6.1, NTamd64.6.3, NTamd64.10.0", FALSE, {6, 3, 9600, SERVER, AMD}, "NTamd64.6.3"},
      {"NTamd64.6.1, NTamd64.6.3", FALSE, {10, 0, 20348, SERVER, AMD}, "NTamd64.6.3"},
      {"NTamd64.6.2", FALSE, {6, 1, 7601, CLIENT, AMD}, NULL},
      {"NTamd64.10.0,NTamd64.10.0...22000",
       FALSE,
       {10, 0, 26100, SERVER, AMD},
       "NTamd64.10.0...22000"},
      {"NTamd64.10.0,NTamd64.10.0...22000", FALSE, {10, 0, 20348, SERVER, AMD}, "NTamd64.10.0"},
      {"NTamd64.10.0...16299,NTamd64.10.0...22000",
       FALSE,
       {10, 0, 22000, CLIENT, AMD},
       "NTamd64.10.0...22000"},
      {"NT.6.1,NTx86.6.1", FALSE, {6, 1, 7601, CLIENT, X86}, "NTx86.6.1"},
      {"NTx86,NTx86.6.0", FALSE, {6, 1, 7601, CLIENT, X86}, "NTx86.6.0"},
      /* Sections without a processor are for x86. */
      {"NT", TRUE, {6, 1, 7601, CLIENT, AMD}, NULL},
      {"NT", FALSE, {6, 1, 7601, CLIENT, X86}, "NT"},
      /* Product types: 1 client, 2 domain controller, 3 server. */
      {"NTamd64.6.1.1,NTamd64.6.1.3", FALSE, {6, 1, 7601, SERVER, AMD}, "NTamd64.6.1.3"},
      {"NTamd64.6.1.1,NTamd64.6.1", FALSE, {6, 1, 7601, CLIENT, AMD}, "NTamd64.6.1.1"},
      {"NTamd64.6.1.0x3,NTamd64.6.0", FALSE, {6, 1, 7601, DC, AMD}, "NTamd64.6.0"},
      /* What is not understood does not count. */
      {"NTia64.6.1,NTarm.6.2,foo,NTamd64.x,NTamd64.6.1.1.0.1.9",
       FALSE,
       {6, 3, 9600, CLIENT, AMD},
       NULL},
      {"NTamd64.10.0...10240,NTamd64.10.0", FALSE, {10, 0, 10586, CLIENT, AMD}, "NTamd64.10.0"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *chosen = choose (cases[i].decorations, cases[i].plain, cases[i].target);
      g_test_message ("%s", cases[i].decorations);
      g_assert_cmpstr (chosen, ==, cases[i].chosen);
    }
}

static void
test_empty_models_exclude (void)
{
  g_autoptr (GError) error = NULL;
  static const char text[] = VERSION STRINGS "[inst]\n[Manufacturer]\n%V%=M,NTamd64,NTamd64.6.0\n"
                                             "[M.NTamd64]\n%D%=inst,x\n[M.NTamd64.6.0]\n";

  g_assert_null (h2k_inf_parse (text, strlen (text), "x.inf", &server_2022, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED);
}

static void
test_install_variants (void)
{
  static const struct
  {
    const char *sections;
    const char *chosen;
  } cases[] = {
      {"[inst]\n[inst.NT]\n[inst.NTamd64]\n[inst.NTx86]\n", "inst.NTamd64"},
      {"[inst]\n[inst.nt]\n[inst.NTx86]\n", "inst.nt"},
      {"[inst]\n[inst.NTarm64]\n", "inst"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *text = g_strconcat (BASE, cases[i].sections, NULL);
      g_autoptr (H2kInf) inf = parse (text);
      g_assert_cmpstr (install (inf)->name, ==, "inst");
      g_assert_cmpstr (install (inf)->decorated, ==, cases[i].chosen);
    }
}

static void
test_devices (void)
{
  g_autoptr (H2kInf) inf
      = parse (VERSION STRINGS "[Manufacturer]\n%V%=M,NTamd64\nOther=O,NTamd64\n[M.NTamd64]\n"
                               "%D%=inst, A\\1, A\\2 ,A\\3\n\"%D% two\"=inst,,B\\1\n"
                               "[O.NTamd64]\nThree=INST,C\\1\n[inst]\n");

  g_assert_cmpuint (inf->devices->len, ==, 3);
  g_assert_cmpuint (inf->installs->len, ==, 1);
  g_assert_cmpuint (g_strv_length (device (inf, 0)->ids), ==, 3);
  g_assert_cmpstr (device (inf, 0)->ids[1], ==, "A\\2");
  g_assert_cmpuint (device (inf, 0)->n_hardware_ids, ==, 1);
  g_assert_cmpuint (device (inf, 1)->n_hardware_ids, ==, 0);
  g_assert_cmpstr (device (inf, 1)->ids[0], ==, "B\\1");
  g_assert_null (device (inf, 1)->description.token);
  g_assert_cmpstr (device (inf, 1)->description.text, ==, "A device two");
  g_assert_cmpstr (device (inf, 2)->manufacturer.text, ==, "Other");
  g_assert_true (device (inf, 2)->install == install (inf));
}

/* --- registry --------------------------------------------------------------------------------- */

static void
assert_data (const H2kInfReg *one, H2kInfRegAction action, guint32 type, const char *bytes,
             gsize size)
{
  gsize has = 0;
  const void *data = one->data ? g_bytes_get_data (one->data, &has) : NULL;

  g_test_message ("line %u", one->line);
  g_assert_cmpint (one->action, ==, action);
  g_assert_cmpuint (one->type, ==, type);
  g_assert_cmpmem (data, has, bytes, size);
}

static void
test_add_reg (void)
{
  g_autoptr (H2kInf) inf = parse (BASE "[inst]\nAddReg=r,\n[r]\n"
                                       "HKR,Parameters\\PnpInterface,\"5\",0x00010001,0x00000001\n"
                                       "hklm,\"Software\\X\",n,0x10001,0x0A\n"
                                       "HKR,,n,65537,1,2,3,4\n"
                                       "HKR,,n,1,de,AD,0xbe,\\\n  ef\n"
                                       "HKR,,n,0x00010000,\"a,b\",c\n"
                                       "HKR,,n,0x00020000,%%x%%\n"
                                       "HKR,,n,0x00020001\n"
                                       "HKR,,n,0x000b0001,1,0,0,0,0,0,0,0\n"
                                       "HKR,Interrupt Management,,0x00000010\n"
                                       "HKR,key\n"
                                       "HKR,,n,0x00010008,more\n"
                                       "HKR,,n,2,x\n"
                                       "HKR,,n,0x20,x\n"
                                       "HKR,,n,4\n"
                                       "HKR,key,,4\n"
                                       "HKR,,n,0x10001\n"
                                       "HKR,,n,0x10001,-1\n");
  const GPtrArray *r = install (inf)->reg;

  assert_data (reg (r, 0), H2K_INF_REG_SET, 4, "\1\0\0\0", 4);
  g_assert_cmpint (reg (r, 0)->root, ==, H2K_INF_HKR);
  g_assert_cmpstr (reg (r, 0)->key, ==, "Parameters\\PnpInterface");
  g_assert_cmpstr (reg (r, 0)->name, ==, "5");
  assert_data (reg (r, 1), H2K_INF_REG_SET, 4, "\n\0\0\0", 4);
  g_assert_cmpint (reg (r, 1)->root, ==, H2K_INF_HKLM);
  assert_data (reg (r, 2), H2K_INF_REG_SET, 4, "\1\2\3\4", 4);
  assert_data (reg (r, 3), H2K_INF_REG_SET, 3, "\xde\xad\xbe\xef", 4);
  assert_data (reg (r, 4), H2K_INF_REG_SET, 7, "a\0,\0b\0\0\0c\0\0\0\0\0", 14);
  assert_data (reg (r, 5), H2K_INF_REG_SET, 2, "%\0x\0%\0\0\0", 8);
  assert_data (reg (r, 6), H2K_INF_REG_SET, 0, "", 0);
  assert_data (reg (r, 7), H2K_INF_REG_SET, 11, "\1\0\0\0\0\0\0\0", 8);
  assert_data (reg (r, 8), H2K_INF_REG_KEY, 0, NULL, 0);
  g_assert_cmpstr (reg (r, 8)->key, ==, "Interrupt Management");
  assert_data (reg (r, 9), H2K_INF_REG_KEY, 1, NULL, 0);
  assert_data (reg (r, 10), H2K_INF_REG_APPEND, 7, "m\0o\0r\0e\0\0\0\0\0", 12);
  g_assert_true (reg (r, 11)->keep);
  g_assert_false (reg (r, 11)->if_set);
  g_assert_true (reg (r, 12)->if_set);
  assert_data (reg (r, 13), H2K_INF_REG_DELETE_VALUE, 0, NULL, 0);
  assert_data (reg (r, 14), H2K_INF_REG_DELETE_KEY, 0, NULL, 0);
  assert_data (reg (r, 15), H2K_INF_REG_SET, 4, "\0\0\0\0", 4);
  assert_data (reg (r, 16), H2K_INF_REG_SET, 4, "\xff\xff\xff\xff", 4);
  g_assert_cmpuint (r->len, ==, 17);
}

static void
test_del_reg (void)
{
  g_autoptr (H2kInf) inf = parse (BASE "[inst]\nAddReg=a\nDelReg=d\n[a]\nHKR,,new,,1\n[d]\n"
                                       "HKR,,UpperFilters\nHKLM,Software\\Old\n"
                                       "HKLM,Software\\Old,n,0x2000\n"
                                       "HKR,,Filters,0x00018002,vsepflt\n");
  const GPtrArray *r = install (inf)->reg;

  g_assert_cmpuint (r->len, ==, 5);
  assert_data (reg (r, 0), H2K_INF_REG_DELETE_VALUE, 0, NULL, 0);
  assert_data (reg (r, 1), H2K_INF_REG_DELETE_KEY, 0, NULL, 0);
  assert_data (reg (r, 2), H2K_INF_REG_DELETE_KEY, 0, NULL, 0);
  assert_data (reg (r, 3), H2K_INF_REG_DELETE_STRING, 7, "v\0s\0e\0p\0f\0l\0t\0\0\0\0\0", 18);
  /* What is deleted comes first. */
  g_assert_cmpstr (reg (r, 4)->name, ==, "new");
}

/* --- services --------------------------------------------------------------------------------- */

static void
test_service (void)
{
  g_autoptr (H2kInf) inf
      = parse (BASE "[inst.NT]\n[inst.NT.HW]\nAddReg=hw\n[hw]\nHKR,a,,0x10\n[inst.NT.Services]\n"
                    "AddService = viostor, %ASSOC% , s_inst, s_log\n"
                    "AddService = other,,o_inst,s_log,Application,Name\n[s_inst]\n"
                    "DisplayName=%D%\nServiceType=%ONE% ; kernel driver\nStartType = 0\n"
                    "ErrorControl=0x1\nServiceBinary = %13%\\viostor.sys\n"
                    "LoadOrderGroup = SCSI miniport\nDependencies=+Group,Tcpip\nAddReg=sr\n"
                    "[o_inst]\nServiceType=0x10\nStartType=2\nErrorControl=0\n"
                    "ServiceBinary=\"C:\\Program Files\\x.exe\"\nStartName=LocalSystem\n"
                    "[sr]\nHKR,Parameters,BusType,0x10001,0xA\n[s_log]\nAddReg=l\n"
                    "[l]\nHKR,,TypesSupported,0x10001,7\n[Strings]\nASSOC=0x00000002\nONE=1\n");
  const H2kInfService *s = h2k_inf_function_service (install (inf));
  const H2kInfService *o = install (inf)->services->pdata[1];

  g_assert_cmpstr (s->name, ==, "viostor");
  g_assert_cmpuint (s->flags, ==, 2);
  g_assert_cmpuint (s->type, ==, 1);
  g_assert_cmpuint (s->start, ==, 0);
  g_assert_cmpuint (s->error_control, ==, 1);
  g_assert_cmpint (s->binary_dirid, ==, 13);
  g_assert_cmpstr (s->binary, ==, "viostor.sys");
  g_assert_cmpstr (s->group, ==, "SCSI miniport");
  g_assert_cmpstr (s->display_name.token, ==, "%D%");
  g_assert_cmpstr (s->display_name.text, ==, "A device");
  g_assert_cmpstr (s->description.text, ==, "");
  g_assert_cmpstr (s->dependencies[0], ==, "+Group");
  g_assert_cmpstr (s->dependencies[1], ==, "Tcpip");
  assert_data (reg (s->reg, 0), H2K_INF_REG_SET, 4, "\n\0\0\0", 4);
  g_assert_cmpstr (s->event_log, ==, "System");
  g_assert_cmpstr (s->event_name, ==, "viostor");
  g_assert_cmpuint (s->event_reg->len, ==, 1);
  g_assert_cmpuint (install (inf)->hw_reg->len, ==, 1);
  g_assert_false (o->is_function);
  g_assert_cmpint (o->binary_dirid, ==, 0);
  g_assert_cmpstr (o->binary, ==, "C:\\Program Files\\x.exe");
  g_assert_cmpstr (o->start_name, ==, "LocalSystem");
  g_assert_cmpstr (o->event_log, ==, "Application");
  g_assert_cmpstr (o->event_name, ==, "Name");
}

static void
test_null_service (void)
{
  g_autoptr (H2kInf) inf = parse (BASE "[inst]\nInclude=mf.inf,x.inf\nNeeds = MFINSTALL.mf\n"
                                       "[inst.Services]\nAddService = , 2   ; null service\n");

  g_assert_null (h2k_inf_function_service (install (inf)));
  g_assert_cmpuint (install (inf)->services->len, ==, 1);
  g_assert_cmpstr (install (inf)->include[1], ==, "x.inf");
  g_assert_cmpstr (install (inf)->needs[0], ==, "MFINSTALL.mf");
}

/* Services of a section that Windows does not choose are not installed. */
static void
test_services_of_the_chosen_variant (void)
{
  g_autoptr (H2kInf) inf = parse (BASE "[inst]\n[inst.NTamd64]\n" SERVICE);

  g_assert_cmpuint (install (inf)->services->len, ==, 0);
}

/* --- files ------------------------------------------------------------------------------------ */

static const H2kInfFile *
file_of (const GPtrArray *list, guint i)
{
  g_assert_cmpuint (i, <, list->len);
  return list->pdata[i];
}

static void
test_files (void)
{
  g_autoptr (H2kInf) inf = parse (
      BASE
      "[inst]\nCopyFiles=@one.sys, list\nCopyFiles=more\n[list]\ntarget.sys,source.sys,,2\n"
      "x.sys,,,0x4002\n[more]\nx.dll\n[inst.CoInstallers]\nCopyFiles=co\n[co]\nWdf.dll\n"
      "[DestinationDirs]\nDefaultDestDir=12\nmore = 11,sub\\folder ; comment\nco=11\nlist=13\n"
      "[SourceDisksNames]\n1=%D%,,,\"\"\n2=%D%,,,\\root\n"
      "[SourceDisksFiles]\none.sys=1\nx.sys=2,\\x86\nextra.txt=1\n"
      "[SourceDisksFiles.amd64]\nx.sys = 2, amd64\\deep,100\n[SourceDisksFiles.x86]\nno.sys=1\n");
  const GPtrArray *f = install (inf)->files;
  static const char *const all[] = {"x.cat", "one.sys", "source.sys",     "root/amd64/deep/x.sys",
                                    "x.dll", "Wdf.dll", "root/x86/x.sys", "extra.txt"};

  g_assert_cmpuint (f->len, ==, 4);
  g_assert_cmpstr (file_of (f, 0)->source, ==, "one.sys");
  g_assert_cmpint (file_of (f, 0)->dirid, ==, 12);
  g_assert_cmpstr (file_of (f, 1)->source, ==, "source.sys");
  g_assert_cmpstr (file_of (f, 1)->target, ==, "target.sys");
  g_assert_cmpint (file_of (f, 1)->dirid, ==, 13);
  g_assert_cmpuint (file_of (f, 2)->flags, ==, 0x4002);
  g_assert_cmpstr (file_of (f, 2)->source_dir, ==, "root/amd64/deep");
  g_assert_cmpint (file_of (f, 3)->dirid, ==, 11);
  g_assert_cmpstr (file_of (f, 3)->subdir, ==, "sub\\folder");
  g_assert_cmpstr (file_of (install (inf)->co_files, 0)->source, ==, "Wdf.dll");
  g_assert_cmpuint (inf->files->len, ==, G_N_ELEMENTS (all));
  for (guint i = 0; i < inf->files->len; i++)
    g_assert_cmpstr (inf->files->pdata[i], ==, all[i]);
}

/* --- what is wrong ---------------------------------------------------------------------------- */

static void
test_refused (void)
{
  static const struct
  {
    const char *text;
    H2kError code;
    const char *says;
  } cases[] = {
      {"", H2K_ERROR_FORMAT, "[Version]"},
      {"no section\n", H2K_ERROR_FORMAT, "line 1: there is something before"},
      {"\n[Version\nSignature=\"$Windows NT$\"\n", H2K_ERROR_FORMAT, "line 2: a section's name"},
      {"[Version]\nSignature=\"$Windows 95$\"\n", H2K_ERROR_FORMAT,
       "line 2: there is no [Version]"},
      {VERSION STRINGS, H2K_ERROR_UNSUPPORTED,
       "no devices for Windows 10.0 build 20348, server, amd64"},
      {BASE, H2K_ERROR_FORMAT, "line 11: there is no install section [inst]"},
      {BASE "[inst]\nCopyFiles=nowhere\n", H2K_ERROR_FORMAT,
       "line 16: there is no section [nowhere]"},
      {BASE "[inst]\nAddReg=r\n[r]\nHKXX,,a\n", H2K_ERROR_FORMAT,
       "line 18: it does not begin with a root"},
      {BASE "[inst]\nAddReg=r\n[r]\nHKR,,a,xyz\n", H2K_ERROR_FORMAT,
       "line 18: \"xyz\" is not a number"},
      {BASE "[inst]\nAddReg=r\n[r]\nHKR,,a,1,zz\n", H2K_ERROR_FORMAT,
       "\"zz\" is not a hexadecimal byte"},
      {BASE "[inst]\nAddReg=r\n[r]\nHKR,,a,0x00030000,1\n", H2K_ERROR_FORMAT,
       "0x00030000 is no type"},
      {BASE "[inst]\nAddReg=r\n[r]\nHKR,,a,0x10001,1,2,3,4,5\n", H2K_ERROR_FORMAT,
       "REG_DWORD of 5"},
      {BASE "[inst]\nDelReg=r\n[r]\nHKLM\n", H2K_ERROR_FORMAT, "delete all of HKLM"},
      {BASE "[inst]\n[inst.Services]\nAddService=a,2,no\n", H2K_ERROR_FORMAT,
       "there is no section [no]"},
      {BASE "[inst]\n[inst.Services]\nAddService=a\\b,2,no\n", H2K_ERROR_FORMAT,
       "cannot have this name"},
      {BASE "[inst]\n[inst.Services]\nAddService=a,2,s\n[s]\nServiceType=1\n", H2K_ERROR_FORMAT,
       "no StartType"},
      {BASE "[inst]\n[inst.Services]\nAddService=a,2,s\n[s]\nServiceType=1\nStartType="
            "0\nErrorControl=1\n",
       H2K_ERROR_FORMAT, "no ServiceBinary"},
      {BASE "[inst]\n[inst.Services]\nAddService=a,2,s\n[s]\nServiceType=1\nStartType="
            "0\nErrorControl=1\n"
            "ServiceBinary=%12%\\..\\..\\x.sys\n",
       H2K_ERROR_FORMAT, "leaves its folder"},
      {BASE "[inst]\nCopyFiles=@..\\x.sys\n", H2K_ERROR_FORMAT,
       "no path that a driver package may have"},
      {BASE "[inst]\nCopyFiles=@C:\\x.sys\n", H2K_ERROR_FORMAT,
       "no path that a driver package may have"},
      {BASE "[inst]\nCopyFiles=@a\\x.sys\n", H2K_ERROR_FORMAT, "is not the name of a file"},
      {BASE "[inst]\nCopyFiles=c\n[c]\nx.sys\n[DestinationDirs]\nc=12,..\\..\n", H2K_ERROR_FORMAT,
       "\"..\\..\""},
      {BASE "[inst]\n[SourceDisksFiles]\n../x=1\n", H2K_ERROR_FORMAT, "\"../x\""},
      {"[Version]\nSignature=\"$Windows NT$\"\nClassGuid={4d36}\n", H2K_ERROR_FORMAT,
       "line 3: ClassGuid"},
      {"\xff\xfe[", H2K_ERROR_FORMAT, "not a text"},
      {"\xff\xfe\x00\xd8", H2K_ERROR_FORMAT, "not a text"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (GError) error = NULL;
      gsize size = strlen (cases[i].text);
      /* The last one has a NUL in it. */
      size = i + 1 == G_N_ELEMENTS (cases) ? 4 : size;
      g_assert_null (h2k_inf_parse (cases[i].text, size, "dir/x.inf", &server_2022, &error));
      g_test_message ("%s", error->message);
      g_assert_error (error, H2K_ERROR, (int)cases[i].code);
      g_assert_true (g_str_has_prefix (error->message, "dir/x.inf: "));
      g_assert_nonnull (strstr (error->message, cases[i].says));
    }
}

static void
test_missing_reg_is_warned_of (void)
{
  g_autoptr (H2kInf) inf = parse (BASE "[inst]\nAddReg=gone\n");

  g_assert_cmpuint (inf->warnings->len, ==, 1);
  g_assert_cmpstr (inf->warnings->pdata[0], ==, "x.inf: line 16: there is no section [gone]");
}

static void
test_guest_text_is_escaped (void)
{
  g_autoptr (GError) error = NULL;
  static const char text[] = BASE "[inst]\nCopyFiles=\x1b[31m\n";

  g_assert_null (h2k_inf_parse (text, strlen (text), "\x1b.inf", &server_2022, &error));
  g_assert_null (strchr (error->message, '\x1b'));
}

/* Assert that TEXT is refused, and that this takes neither long nor much memory. */
static void
assert_bounded (GString *text, const char *says)
{
  g_autoptr (GError) error = NULL;
  gint64 start = g_get_monotonic_time ();

  g_assert_null (h2k_inf_parse (text->str, text->len, "x.inf", &server_2022, &error));
  g_test_message ("%s: %" G_GINT64_FORMAT " ms", error->message,
                  (g_get_monotonic_time () - start) / 1000);
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
  g_assert_nonnull (strstr (error->message, says));
  g_string_free (text, TRUE);
}

static GString *
repeat (GString *text, const char *line, guint times)
{
  for (guint i = 0; i < times; i++)
    g_string_append (text, line);
  return text;
}

static void
test_bounds (void)
{
  GString *text;

  assert_bounded (repeat (g_string_new (BASE "[inst]\n[x]\n"), ",,,,,,,,\n", 400000), "fields");
  assert_bounded (repeat (g_string_new (NULL), "; nothing at all\n", 300000), "too many");
  /* A line that refers to many others, which all do. */
  text = repeat (g_string_new (BASE "[inst]\nAddReg="), "r,", 2000);
  g_string_append (text, "r\n[r]\n");
  assert_bounded (repeat (text, "HKR,,a,,b\n", 2000), "things");
  text = repeat (g_string_new (BASE "[inst.Services]\n"), "AddService=a,2,s\n", 30000);
  g_string_append (text,
                   "[inst]\n[s]\nServiceType=1\nStartType=0\nErrorControl=1\nServiceBinary=x\n");
  assert_bounded (repeat (text, "x\n", 60000), "too many sections refer");
  /* Strings made of strings. */
  text = repeat (g_string_new (BASE "[Strings]\nx=\""), "0123456789", 400);
  g_string_append (text, "\"\n[inst]\nAddReg=r\n[r]\n");
  assert_bounded (repeat (text, "HKR,,a,,%x%\n", 4000), "expand to more than");
  text = repeat (g_string_new (BASE "[Strings]\nx=\""), "0123456789", 400);
  assert_bounded (g_string_append (text, "\"\n[inst]\nAddReg=r\n[r]\nHKR,,a,,%x%%x%\n"),
                  "expanded");
  text = repeat (g_string_new (BASE "[inst]\nAddReg="), "0123456789", 500);
  assert_bounded (text, "a field has more than");
}

/* A file that is cut off anywhere is read or refused. */
static void
test_truncated (void)
{
  static const char text[]
      = BASE "[inst]\nCopyFiles=c\nAddReg=r\n[c]\nx.sys,,,2\n[r]\nHKR,a,b,0x10001,1\n"
             "[DestinationDirs]\nc=12\n[SourceDisksFiles]\nx.sys=1\n" SERVICE;
  g_autoptr (H2kInf) whole = parse (text);

  g_assert_nonnull (h2k_inf_function_service (install (whole)));
  for (gsize size = 0; size < strlen (text); size++)
    {
      g_autoptr (GError) error = NULL;
      g_autofree char *part = g_memdup2 (text, size);
      g_autoptr (H2kInf) inf = h2k_inf_parse (part, size, "x.inf", &server_2022, &error);
      g_assert_true ((inf != NULL) != (error != NULL));
    }
}

/* QEMU's own INF of its PCI serial cards, as it is installed here. */
static void
test_real_file (void)
{
  g_autofree char *text = NULL;
  g_autoptr (H2kInf) inf = NULL, old = NULL;
  g_autoptr (GError) error = NULL;
  gsize size;

  if (!g_file_get_contents ("/usr/share/doc/qemu-system-data/qemupciserial.inf", &text, &size,
                            NULL))
    {
      g_test_skip ("QEMU's qemupciserial.inf is not installed");
      return;
    }
  inf = h2k_inf_parse (text, size, "qemupciserial.inf", &server_2022, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (inf->class_guid, ==, "{4D36E971-E325-11CE-BFC1-08002BE10318}");
  g_assert_cmpuint (inf->devices->len, ==, 3);
  g_assert_cmpstr (device (inf, 2)->ids[0], ==, "PCI\\VEN_1B36&DEV_0004");
  g_assert_cmpstr (install (inf)->needs[0], ==, "MFINSTALL.mf");
  g_assert_cmpuint (install (inf)->hw_reg->len, >=, 3);
  old = h2k_inf_parse (text, size, "qemupciserial.inf", &xp, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (old->devices->len, ==, 3);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/inf/version section", test_version);
  g_test_add_func ("/inf/decorated catalogue, odd date and version", test_version_oddities);
  g_test_add_func ("/inf/UTF-16, UTF-8 and Windows-1252 say the same", test_encodings);
  g_test_add_func ("/inf/quotes, comments, continued lines", test_quotes_comments_continuation);
  g_test_add_func ("/inf/string keys are expanded, directory numbers are not", test_string_keys);
  g_test_add_func ("/inf/strings of US English, else English, else any", test_languages);
  g_test_add_func ("/inf/sections of one name are one", test_sections_merge);
  g_test_add_func ("/inf/the models section that Windows would choose", test_models);
  g_test_add_func ("/inf/an empty models section excludes a release", test_empty_models_exclude);
  g_test_add_func ("/inf/the install section that Windows would choose", test_install_variants);
  g_test_add_func ("/inf/devices with hardware and compatible ids", test_devices);
  g_test_add_func ("/inf/AddReg of every type", test_add_reg);
  g_test_add_func ("/inf/DelReg comes before AddReg", test_del_reg);
  g_test_add_func ("/inf/services with their registry and event log", test_service);
  g_test_add_func ("/inf/a device without a driver", test_null_service);
  g_test_add_func ("/inf/services of another variant do not count",
                   test_services_of_the_chosen_variant);
  g_test_add_func ("/inf/files, where they come from and go to", test_files);
  g_test_add_func ("/inf/what is wrong is told with its line", test_refused);
  g_test_add_func ("/inf/registry sections that are missing are warned of",
                   test_missing_reg_is_warned_of);
  g_test_add_func ("/inf/texts of the file are escaped in messages", test_guest_text_is_escaped);
  g_test_add_func ("/inf/hostile files take little time and memory", test_bounds);
  g_test_add_func ("/inf/cut off anywhere", test_truncated);
  g_test_add_func ("/inf/QEMU's own INF file", test_real_file);
  return g_test_run ();
}
