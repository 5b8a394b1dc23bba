"""The choices of make.py: how many cities, how near, which names, what is left out or added."""

import re

MOST = 30
"""Cities of each country, and of each state of the US: the paper's number."""
DENSITY = 5_000  # People in a km² of a large city: says how far it reaches.
SMALL_KM2 = 3_000  # In a smaller country, regions are quarters of its towns.
DUMP_SINCE = 15_000  # The 2018 dump lists places from this population.
ONE_PLACE_KM = 2
ALIAS_KM = 60  # Within this, one population and nearly one name are one place.

# Names as a caption would say them, where GeoNames says them otherwise.
COUNTRIES = {
    "AX": "Åland",
    "BL": "Saint Barthélemy",
    "BQ": "the Caribbean Netherlands",
    "CV": "Cape Verde",
    "CW": "Curaçao",
    "MO": "Macau",
    "NL": "Netherlands",
    "PN": "the Pitcairn Islands",
    "PS": "Palestine",
    "RE": "Réunion",
    "ST": "São Tomé and Príncipe",
    "TL": "Timor-Leste",
    "VA": "Vatican City",
}
# Cities likewise.
ENGLISH = {
    ("AE", "Al Ain City"): "Al Ain",
    ("AE", "Khalifah A City"): "Khalifa City",
    ("AE", "Umm Al Quwain City"): "Umm Al Quwain",
    ("BE", "Brugge"): "Bruges",
    ("BE", "Gent"): "Ghent",
    ("CD", "Bandundu Province"): "Bandundu",
    ("CH", "Genève"): "Geneva",
    ("CH", "Zürich"): "Zurich",
    ("DE", "Hannover"): "Hanover",
    ("DE", "Köln"): "Cologne",
    ("ES", "Gasteiz / Vitoria"): "Vitoria-Gasteiz",
    ("ES", "Sevilla"): "Seville",
    ("FM", "Kolonia Town"): "Kolonia",
    ("GR", "Chalkída"): "Chalcis",
    ("GR", "Irákleion"): "Heraklion",
    ("GR", "Khalándrion"): "Chalandri",
    ("GR", "Lárisa"): "Larissa",
    ("GR", "Pátra"): "Patras",
    ("GR", "Ródos"): "Rhodes",
    ("ID", "Jambi City"): "Jambi",
    ("IQ", "Qeładizê"): "Qaladiza",
    ("IT", "Siracusa"): "Syracuse",
    ("JO", "Karak City"): "Karak",
    ("LR", "Pleebo City"): "Pleebo",
    ("MN", "Ulan Bator"): "Ulaanbaatar",
    ("MX", "León de los Aldama"): "León",
    ("MX", "Santiago de Querétaro"): "Querétaro",
    ("NL", "Den Haag"): "The Hague",
    ("NZ", "Manukau City"): "Manukau",
    ("PW", "Koror Town"): "Koror",
    ("RU", "Nizhniy Novgorod"): "Nizhny Novgorod",
    ("SA", "Al Hufuf"): "Hofuf",
    ("SA", "Al Jubayl"): "Jubail",
    ("SA", "Madinah"): "Medina",
    ("SA", "Makkah"): "Mecca",
    ("SE", "Göteborg"): "Gothenburg",
    ("TW", "Chiayi City"): "Chiayi",
    ("TW", "Hualien City"): "Hualien",
    ("US", "Derry Village"): "Derry",
}
# Regions likewise; Ba Ria–Vung Tau has been part of Ho Chi Minh City since 2025.
REGIONS = {
    ("BA", "Federation of B&H"): "Federation of Bosnia and Herzegovina",
    ("CL", "Region of Magallanes"): "Magallanes",
    ("DE", "State of Berlin"): "Berlin",
    ("NP", "Province 4"): "Gandaki Province",
    ("UA", "Kharkivs'ka Oblast"): "Kharkiv Oblast",
    ("VN", "Ba Ria–Vung Tau Province"): "Ho Chi Minh City",
}
# A city that GeoNames calls by a quarter or half of it.
RENAMED = {1863905: "Funabashi", 2294915: "Sekondi-Takoradi"}
# What bears another place's population or is part of a city, each checked by hand.
EXCLUDED = {
    11836117: "Suginami, Ibaraki: the population of Tokyo's ward",
    124878: "Maragheh, Razavi Khorasan: the population of that in East Azerbaijan",
    1166547: "Sahiwal, Sargodha: the population of the city 190 km away",
    193627: "Karuri, Murang'a: the population of that in Kiambu",
    13118439: "Lahbab: the population of Al Sajaah, Sharjah",
    2055401: "Myonggan-dong: an earlier name of Hwasong",
    7839240: "Enchanted Hills: part of Rio Rancho, with its population",
    3577256: "Butucu: part of San Nicolas, with its population",
    9179507: "Malmok: the beach beside Palm Beach, with its population",
    2295458: "Sekondi-Takoradi: one city with Takoradi, which has its whole population",
    1723510: "Budta: a village with a million",
    12165956: "Kallakurichi: a town with its district's population",
    4756955: "East Hampton: part of Hampton",
    4333190: "Metairie Terrace: part of Metairie",
    1230089: "Pita Kotte: part of Sri Jayewardenepura Kotte",
    776103: "Białołeka: part of Warsaw",
    3183539: "Acilia-Castel Fusano-Ostia Antica: part of Rome",
    13527003: "Reclamation Areas: part of Gibraltar",
    13527004: "Town Area: part of Gibraltar",
    13527007: "South District: part of Gibraltar",
}
# First-order divisions that are one city: the only places in them that are towns.
ONE_CITY = {
    ("AE", "03"): ("Dubai", "Jebel Ali", "Hatta"),
    ("TH", "40"): ("Bangkok",),
    ("US", "DC"): ("Washington",),
}
CAPITALS = ("PPLA", "PPLC", "PPLG")  # Of regions and countries; seats of government.
VILLAGES = ("AI", "FM", "GU", "KI", "MP", "PW", "SX", "TK", "TV")
"""Where GeoNames adds "Village" to names that go without."""
# Places of the codes that the packages have none for: stations and settlements, each checked by
# hand.
BY_HAND = {
    "AQ": [
        ("McMurdo Station", "Ross Island", -77.846, 166.676),
        ("Villa Las Estrellas", "King George Island", -62.2006, -58.9622),
        ("Esperanza Base", "Trinity Peninsula", -63.3975, -56.9964),
        ("Port Lockroy", "Goudier Island", -64.8253, -63.4947),
        ("Palmer Station", "Anvers Island", -64.7743, -64.0531),
        ("Davis Station", "Princess Elizabeth Land", -68.5766, 77.9674),
        ("Vostok Station", "Princess Elizabeth Land", -78.4645, 106.8339),
        ("Amundsen–Scott South Pole Station", "South Pole", -89.9975, 139.2728),
    ],
    "BV": [("Norvegia Station", "Bouvet Island", -54.4044, 3.2889)],
    "IO": [("Diego Garcia", "Chagos Archipelago", -7.3133, 72.4111)],
    "HM": [("Atlas Cove", "Heard Island", -53.0192, 73.3917)],
    "UM": [
        ("Wake Island", "Wake Atoll", 19.2822, 166.647),
        ("Sand Island", "Midway Atoll", 28.2078, -177.3791),
    ],
}
# Macron, dot or line below, breve but for letters of Turkish, Romanian and Vietnamese, cedilla
# under consonants of no alphabet.
SCHOLARLY = re.compile("\u0304|\u0323|\u0331|[iIoOeEuU]\u0306|[hHdDzZ]\u0327")
ARABIC = re.compile("[sStT]\u0327")
CEDILLA = ("AZ", "CY", "MD", "RO", "TM", "TR")  # Where s or t has one in the alphabet.
STRESSED = ("CY", "GR")  # Greek: the accents in its transliteration are no part of English names.
NOT_COUNTRIES = ("AN", "CS")  # No more: the Netherlands Antilles; Serbia and Montenegro.
